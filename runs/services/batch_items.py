"""Add items to a batch: decide about each as about a single trigger, and write them together.

A piece of a batch is one transaction under the lock of the batch's row: what is there already is
left alone, so any piece may be sent again, in part or whole, by anyone, at any time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import psycopg
from django.db import connection, transaction
from psycopg.rows import tuple_row

from deployments.environment_entry import EnvironmentEntry, entry_for
from ledger.ids import new_id
from runs.base import Base, base_for
from runs.batch_statement import ItemRow, OwnColumns, batch_statement, shape_of
from runs.batches import (
    PAYLOAD_TOO_LARGE,
    TOO_LARGE,
    UNPROCESSABLE,
    Added,
    BatchItem,
    ItemFailure,
    OpenBatch,
    Own,
)
from runs.calls import TriggerCall
from runs.errors import BatchNotFound, TooLarge
from runs.metrics import TRIGGERED
from runs.services.trigger import (
    EPOCH,
    MICROSECOND,
    NO_PARENT,
    Code,
    Given,
    Parent,
    check_limits,
    code_for,
    columns_of,
    key_end,
    parent_of,
    place_call,
    place_for,
)
from runs.services.wakeups import announce_ready
from runs.states import ExecutionStatus, RunStatus
from tenants.credentials import Caller
from tenants.entitlements.access import check_access
from tenants.errors import Refused

_TRIES = 3  # a key may change hands between the look at who holds it and the statement
_BUSY_KEY = ItemFailure(UNPROCESSABLE, "idempotencyKey: the key changed hands too often")

_BATCH = """
SELECT id, run_count, created_at, parent_run_id, sealed_at IS NOT NULL, item_count
FROM runs_batch WHERE id = %s AND environment_id = %s
"""
_COUNT = """
UPDATE runs_batch SET item_count = item_count + %(more)s, updated_at = %(now)s,
  sealed_at = CASE WHEN item_count + %(more)s = run_count THEN %(now)s::timestamptz END
WHERE id = %(batch)s RETURNING item_count, sealed_at IS NOT NULL
"""
_HOLDERS = """
SELECT task_slug, key, run_id FROM runs_idempotencykey
WHERE environment_id = %s AND expires_at > %s
  AND (task_slug, key) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
_PLAIN_ITEMS = """
INSERT INTO runs_batchitem (batch_id, item_index, task_slug, run_id, error, error_code)
SELECT %s, * FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[])
"""

Columns = dict[str, Any]
# What a call asks for, but what is each item's own.
_ASKED = attrgetter(*(field.name for field in fields(TriggerCall) if field.name not in Own._fields))
_OWN = attrgetter(*Own._fields)


class _Plain(NamedTuple):
    """An item that makes no run: another has its key, or it cannot be done."""

    item_index: int
    task: str
    run_id: str | None = None
    failure: ItemFailure | None = None


def get_open_batch(*, environment_id: str, batch_id: str) -> OpenBatch:
    """Give a batch to add items to, or raise `BatchNotFound`."""
    return _read(environment_id, batch_id, _BATCH)


def add_items(
    caller: Caller, batch: OpenBatch, items: Sequence[BatchItem], *, now: datetime
) -> Added:
    """Make the runs of these items; those whose index is there already are left as they are.

    An item that cannot be a run is kept with the reason. The batch is sealed with its last item.
    Raise `Refused` for an organization without access, `BatchNotFound`, or `RunNotFound` when its
    parent is gone.
    """
    check_access(caller)
    with transaction.atomic():
        locked = _read(caller.environment.id, batch.id, f"{_BATCH} FOR UPDATE")
        if locked.is_sealed:
            return Added(0, 0, is_sealed=True, item_count=locked.item_count)
        fresh = _without_known(locked, items)
        if not fresh:
            return Added(0, len(items), is_sealed=False, item_count=locked.item_count)
        _write(_Decisions(caller, locked, now), fresh)
        with connection.cursor() as cursor:
            values: dict[str, Any] = {"more": len(fresh), "now": now, "batch": locked.id}
            cursor.execute(_COUNT, values)
            item_count, is_sealed = cursor.fetchone()
    return Added(len(fresh), len(items) - len(fresh), is_sealed, item_count)


def _read(environment_id: str, batch_id: str, query: str) -> OpenBatch:
    with connection.cursor() as cursor:
        cursor.execute(query, [batch_id, environment_id])
        row = cursor.fetchone()
    if row is None:
        raise BatchNotFound(batch_id)
    return OpenBatch(*row)


def _without_known(batch: OpenBatch, items: Sequence[BatchItem]) -> list[BatchItem]:
    """Give the first item of each index that the batch does not have yet."""
    first = {item.index: item for item in reversed(items)}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT item_index FROM runs_batchitem WHERE batch_id = %s AND item_index = ANY(%s)",
            [batch.id, list(first)],
        )
        known = {index for (index,) in cursor.fetchall()}
    return sorted((first[index] for index in first.keys() - known), key=lambda item: item.index)


class _Decisions:
    """What is decided about the items of one piece, each question asked once.

    It is the decision of a single trigger: items that ask for the same region share its placement,
    as triggers of one moment would get the same.
    """

    def __init__(self, caller: Caller, batch: OpenBatch, now: datetime) -> None:
        self.caller = caller
        self.batch = batch
        self.now = now
        self._now_us = (now - EPOCH) // MICROSECOND
        self._now_ms = int(now.timestamp() * 1000)
        self._batch_ms = int(batch.created_at.timestamp() * 1000)
        self._entry: EnvironmentEntry = entry_for(caller.environment.id)
        self._parent = self._find_parent()
        self._bases: dict[str | None, Base | Refused] = {}
        self._codes: dict[tuple[str, str | None, str | None], Code | Refused] = {}
        self._shared: dict[object, Columns] = {}
        self._of_call: dict[int, Columns] = {}  # by the identity of calls that items share

    def _find_parent(self) -> Parent:
        parent = self.batch.parent_run_id
        return NO_PARENT if parent is None else parent_of(self.caller, parent)

    def row_of(self, item: BatchItem) -> ItemRow:
        """Give the row of an item's run. Raise `Refused` or `TooLarge`."""
        call = item.call
        shared = self._of_call.get(id(call)) if item.failure is None else None
        if shared is None:
            shared = self._shared_columns(call, item.failure)
        score = shared["score"]
        if call.delay_until is None:  # items queue in their order, from when the batch was made
            score += self._batch_ms + item.index - self._now_ms
        payload, key, key_shown, key_ttl_s = item.own or _OWN(call)
        own = OwnColumns(
            item_index=item.index,
            id=new_id("run", now_us=self._now_us),
            snapshot_id=new_id("snapshot", now_us=self._now_us),
            score=score,
            payload=payload,
            idempotency_key=key,
            idempotency_key_shown=key_shown,
            idempotency_key_expires_at=key_end(key, key_ttl_s, self.now),
        )
        return ItemRow(shared, own)

    def _shared_columns(self, call: TriggerCall, failure: ItemFailure | None) -> Columns:
        """Give the columns of all items that ask for the same, worked out once."""
        asked = (_ASKED(call), failure)
        shared = self._shared.get(asked)
        if shared is None:
            shared = self._shared[asked] = self._columns(call, failure)
        if failure is None:  # the items keep the call alive, so its identity stays its own
            self._of_call[id(call)] = shared
        return shared

    def _columns(self, call: TriggerCall, failure: ItemFailure | None) -> Columns:
        """Give the columns of a single trigger with this call, and those of a batch."""
        check_limits(call)
        base = self._base(call.region)
        code = self._code(call)
        placement = place_call(base, self._entry, call, code)
        place = place_for(call, code)
        columns = columns_of(
            Given(self.caller, call, code, placement, base.revision, self._parent, place, self.now)
        )
        columns |= {"batch_id": self.batch.id, "place": place}
        return columns | (_NOT_OVER if failure is None else _over(failure, self.now))

    def _base(self, region: str | None) -> Base:
        known = self._bases.get(region)
        if known is None:
            known = self._bases[region] = self._find_base(region)
        if isinstance(known, Refused):
            raise known
        return known

    def _find_base(self, region: str | None) -> Base | Refused:
        try:
            return base_for(self.caller, self._entry, region)
        except Refused as refused:
            return refused

    def _code(self, call: TriggerCall) -> Code:
        asked = (call.task, call.lock_to_version, call.queue)
        known = self._codes.get(asked)
        if known is None:
            known = self._codes[asked] = self._find_code(call)
        if isinstance(known, Refused):
            raise known
        return known

    def _find_code(self, call: TriggerCall) -> Code | Refused:
        try:
            return code_for(self.caller, call, self._entry)
        except Refused as refused:
            return refused


_NOT_OVER: Columns = {"error": None, "completed_at": None}


def _over(failure: ItemFailure, now: datetime) -> Columns:
    """Give what makes a run one that failed before it began."""
    error = {"type": "INTERNAL_ERROR", "code": failure.code, "message": failure.message}
    return {
        "place": "over",
        "status": RunStatus.SYSTEM_FAILURE.value,
        "execution_status": ExecutionStatus.FINISHED.value,
        "first_queued_at": None,
        "error": json.dumps(error),
        "completed_at": now,
    }


def _write(decisions: _Decisions, items: Sequence[BatchItem]) -> None:
    rows: list[ItemRow] = []
    plain: list[_Plain] = []
    for item in items:
        if item.failure is not None and item.failure.code != PAYLOAD_TOO_LARGE:
            plain.append(_Plain(item.index, item.call.task, failure=item.failure))
            continue
        try:
            rows.append(decisions.row_of(item))
        except Refused as refused:
            failure = ItemFailure(UNPROCESSABLE, str(refused))
            plain.append(_Plain(item.index, item.call.task, failure=failure))
        except TooLarge as too_large:
            failure = ItemFailure(TOO_LARGE, str(too_large))
            plain.append(_Plain(item.index, item.call.task, failure=failure))
    made, held = _write_rows(rows, decisions)
    _write_plain(decisions.batch, [*plain, *held])
    _open_lanes([row.shared for row in made if row.shared["place"] == "ready"])
    transaction.on_commit(partial(_tell, made))


def _write_rows(rows: list[ItemRow], decisions: _Decisions) -> tuple[list[ItemRow], list[_Plain]]:
    """Write the rows whose keys are free; give them, and what became of the others."""
    made: list[ItemRow] = []
    plain: list[_Plain] = []
    tries = _TRIES
    while rows and tries:
        waiting, now_held = _split_held(rows, decisions)
        written = _execute(_first_of_each_key(waiting))
        made += (row for row in waiting if row.own.item_index in written)
        plain += now_held
        rows = [row for row in waiting if row.own.item_index not in written]
        tries -= not (written or now_held)
    busy = [_plain_of(row, failure=_BUSY_KEY) for row in rows]
    return made, plain + busy


def _split_held(rows: list[ItemRow], decisions: _Decisions) -> tuple[list[ItemRow], list[_Plain]]:
    """Take out the rows whose key a run holds. Looking first locks no key that is not ours."""
    keyed = [_key_of(row) for row in rows if row.own.idempotency_key is not None]
    if not keyed:
        return rows, []
    tasks, keys = ([key[part] for key in keyed] for part in (0, 1))
    with connection.cursor() as cursor:
        cursor.execute(
            _HOLDERS, [decisions.caller.environment.id, decisions.now, list(tasks), list(keys)]
        )
        holders = {(task, key): run_id for task, key, run_id in cursor.fetchall()}
    waiting, held = [], []
    for row in rows:
        run_id = holders.get(_key_of(row))
        if run_id is None:
            waiting.append(row)
        else:
            held.append(_plain_of(row, run_id=run_id))
    return waiting, held


def _key_of(row: ItemRow) -> tuple[str, str | None]:
    return row.shared["task_slug"], row.own.idempotency_key


def _plain_of(
    row: ItemRow, *, run_id: str | None = None, failure: ItemFailure | None = None
) -> _Plain:
    return _Plain(row.own.item_index, row.shared["task_slug"], run_id, failure)


def _first_of_each_key(rows: list[ItemRow]) -> list[ItemRow]:
    first: dict[object, ItemRow] = {}
    for row in rows:
        is_keyed = row.own.idempotency_key is not None
        first.setdefault(_key_of(row) if is_keyed else row.own.item_index, row)
    return list(first.values())


def _execute(rows: list[ItemRow]) -> set[int]:
    """Run the statement as a prepared one; give the indexes of the items that were written."""
    if not rows:
        return set()
    shape, values = shape_of(rows)
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        psycopg.Cursor(connection.connection, row_factory=tuple_row) as cursor,
    ):
        found = cursor.execute(batch_statement(shape), values, prepare=True).fetchall()
    return {index for (index,) in found}


def _write_plain(batch: OpenBatch, items: Sequence[_Plain]) -> None:
    if not items:
        return
    failures = [item.failure for item in items]
    with connection.cursor() as cursor:
        cursor.execute(
            _PLAIN_ITEMS,
            [
                batch.id,
                [item.item_index for item in items],
                [item.task for item in items],
                [item.run_id for item in items],
                [failure and failure.message for failure in failures],
                [failure and failure.code for failure in failures],
            ],
        )


def _open_lanes(ready: Sequence[Mapping[str, Any]]) -> None:
    lanes = {columns["lane_id"]: columns for columns in ready}
    if not lanes:
        return
    of_lanes = list(lanes.values())
    names = ("worker_queue", "queue_name", "concurrency_key")
    worker_queues, queues, keys = ([columns[name] for columns in of_lanes] for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT runs_open_lanes(%s::uuid[], %s::text[], %s, %s::text[], %s::text[])",
            [list(lanes), worker_queues, of_lanes[0]["environment_id"], queues, keys],
        )


def _tell(made: Sequence[ItemRow]) -> None:
    """Count what was made, and wake who waits for it; it can be seen by now."""
    decisions = Counter((row.shared["enrollment"], row.shared["why"]) for row in made)
    for (enrollment, why), count in decisions.items():
        TRIGGERED.labels(enrollment, why).inc(count)
    ready = {row.shared["worker_queue"] for row in made if row.shared["place"] == "ready"}
    for queue in ready:
        announce_ready(queue)
