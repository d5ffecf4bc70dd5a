"""Make a batch, or find the one that a key or a repeated request already made."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from django.db import connection, transaction

from ledger.ids import new_id
from runs.batches import KEY_HOURS, CreatedBatch, NewBatch
from runs.errors import BatchLimited
from runs.services.trigger import EPOCH, MICROSECOND, parent_of
from tenants.credentials import Caller
from tenants.entitlements.access import check_access

_CLAIM = """
INSERT INTO runs_batchkey AS held (environment_id, key, batch_id, created_at)
VALUES (%(environment)s, %(key)s, %(batch)s, %(now)s)
ON CONFLICT (environment_id, key) DO UPDATE
  SET batch_id = EXCLUDED.batch_id, created_at = EXCLUDED.created_at
  WHERE held.created_at <= %(before)s
RETURNING 1
"""
_HELD = """
SELECT b.id, b.run_count, b.sealed_at IS NOT NULL, b.idempotency_key_shown
FROM runs_batchkey k JOIN runs_batch b ON b.id = k.batch_id
WHERE k.environment_id = %(environment)s AND k.key = %(key)s
"""
_MAKE = """
INSERT INTO runs_batch (id, environment_id, run_count, item_count, parent_run_id,
  idempotency_key_shown, created_at, updated_at)
VALUES (%(batch)s, %(environment)s, %(run_count)s, 0, %(parent)s, %(shown)s, %(now)s, %(now)s)
"""
# The bucket as it stands now, less what is asked for; no row when that is too much.
_TAKE = """
INSERT INTO runs_batchbucket AS bucket (environment_id, tokens, filled_at)
VALUES (%(environment)s, %(most)s::float8 - %(wanted)s, %(now)s)
ON CONFLICT (environment_id) DO UPDATE
  SET tokens = least(%(most)s::float8, bucket.tokens + %(per_s)s::float8
        * greatest(0, extract(epoch FROM %(now)s - bucket.filled_at))) - %(wanted)s,
      filled_at = greatest(%(now)s, bucket.filled_at)
  WHERE least(%(most)s::float8, bucket.tokens + %(per_s)s::float8
        * greatest(0, extract(epoch FROM %(now)s - bucket.filled_at))) >= %(wanted)s
RETURNING 1
"""
_LEFT = """
SELECT least(%(most)s::float8, tokens + %(per_s)s::float8
  * greatest(0, extract(epoch FROM %(now)s - filled_at)))
FROM runs_batchbucket WHERE environment_id = %(environment)s
"""


class BatchRate(NamedTuple):
    """How many items an environment may announce: a bucket, and how fast it fills."""

    most: int
    refill: int
    refill_s: int

    @property
    def per_s(self) -> float:
        """Items a second in the long run."""
        return self.refill / self.refill_s


def create_batch(
    caller: Caller, new: NewBatch, *, rate: BatchRate | None, now: datetime
) -> CreatedBatch:
    """Make a batch, or give the one that already holds the request's key or the batch's.

    Rule: a key is held for 24 hours, and is about the environment and the announced tasks. A held
    batch counts as cached only when it has all its items, so that what was lost on the way is sent
    again. Raise `Refused` for an organization without access, `RunNotFound` for an unknown parent,
    `BatchLimited` when `rate` does not allow it.
    """
    check_access(caller)
    batch_id = new_id("batch", now_us=(now - EPOCH) // MICROSECOND)
    with transaction.atomic():
        for key in _keys(new):
            held = _claim(caller, key, batch_id, now)
            if held is not None:
                _point_at(caller, new, held.id)
                return held
        if new.parent_run_id is not None:
            parent_of(caller, new.parent_run_id)
        if rate is not None:
            _take(caller, new.run_count, rate, now)
        with connection.cursor() as cursor:
            cursor.execute(
                _MAKE,
                {
                    "batch": batch_id,
                    "environment": caller.environment.id,
                    "run_count": new.run_count,
                    "parent": new.parent_run_id,
                    "shown": new.idempotency_key_shown,
                    "now": now,
                },
            )
    return CreatedBatch(
        batch_id,
        new.run_count,
        is_cached=False,
        is_new=True,
        idempotency_key_shown=new.idempotency_key_shown,
    )


def _keys(new: NewBatch) -> list[str]:
    """Give the keys in the order in which they are claimed: the request's, then the batch's own."""
    tasks = sha256("\n".join(sorted(set(new.tasks))).encode()).hexdigest()
    keys = []
    if new.request_key is not None:
        keys.append(f"request:{tasks}:{new.request_key}")
    if new.idempotency_key is not None:
        keys.append(f"batch:{tasks}:{new.idempotency_key}")
    return keys


def _claim(caller: Caller, key: str, batch_id: str, now: datetime) -> CreatedBatch | None:
    """Take a key for a new batch; give the batch that holds it instead."""
    values: dict[str, Any] = {
        "environment": caller.environment.id,
        "key": key,
        "batch": batch_id,
        "now": now,
        "before": now - timedelta(hours=KEY_HOURS),
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        if cursor.fetchone() is not None:
            return None
        cursor.execute(_HELD, values)
        row = cursor.fetchone()
        if row is None:  # its batch is gone: the key is free, whatever its age
            cursor.execute(_CLAIM, {**values, "before": now})
            return None
    found, run_count, is_sealed, shown = row
    is_cached = is_sealed and key.startswith("batch:")
    return CreatedBatch(
        found, run_count, is_cached=is_cached, is_new=False, idempotency_key_shown=shown
    )


def _point_at(caller: Caller, new: NewBatch, batch_id: str) -> None:
    """Let the request's key, which may just have been taken for a new batch, name the held one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_batchkey SET batch_id = %s WHERE environment_id = %s AND key = ANY(%s)"
            " AND batch_id <> %s",
            [batch_id, caller.environment.id, _keys(new)[:1], batch_id],
        )


def _take(caller: Caller, wanted: int, rate: BatchRate, now: datetime) -> None:
    values: dict[str, Any] = {
        "environment": caller.environment.id,
        "most": rate.most,
        "per_s": rate.per_s,
        "wanted": wanted,
        "now": now,
    }
    with connection.cursor() as cursor:
        left = float(rate.most)
        if wanted <= rate.most:
            cursor.execute(_TAKE, values)
            if cursor.fetchone() is not None:
                return
        cursor.execute(_LEFT, values)
        row = cursor.fetchone()
    if row is not None:
        left = float(row[0])
    wait_s = max(0.0, (min(wanted, rate.most) - left) / rate.per_s)
    raise BatchLimited(
        limit=rate.most, remaining=int(max(0.0, left)), reset_at=now + timedelta(seconds=wait_s)
    )
