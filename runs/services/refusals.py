"""Moves that were refused, kept beside those that were made.

A refused move changes nothing of its run. What is left of it is a snapshot that is not valid: the
state the run was in, the snapshot the caller named, who it was, and why it was refused. It never is
the latest one. A caller that repeats itself leaves one, and a run keeps a bounded number.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connection, transaction

from ledger.ids import new_id
from runs.errors import StaleSnapshot
from runs.metrics import REFUSED
from runs.models.run import ID_LENGTH
from runs.states import Event, IllegalMove
from runs.storable import storable

if TYPE_CHECKING:
    from collections.abc import Generator

    from runs.moves import Mover

MAX_REFUSED = 50  # of one run; the first ones are kept
MAX_REASON = 500  # characters

# One at a time for each run, so that the bound and "once" are exact.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 4))"
_KEEP = """
INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description, error,
  is_valid, previous_id, attempt_number, worker_id, worker_group_id, worker_instance, runner_id,
  request_key, created_at)
SELECT r.id, runs_next_snapshot_id(r.snapshot_id, %(candidate)s), r.execution_status, r.status,
  %(event)s, 'Refused', %(error)s, false, coalesce(%(named)s, r.snapshot_id), r.attempt_number,
  r.worker_id, %(worker_group)s, %(worker_instance)s, %(runner)s, %(request_key)s,
  clock_timestamp()
FROM runs_taskrun r WHERE r.id = %(run)s
  AND NOT EXISTS (SELECT 1 FROM runs_runsnapshot s WHERE s.run_id = r.id AND NOT s.is_valid
    AND s.previous_id = coalesce(%(named)s, r.snapshot_id) AND s.event = %(event)s
    AND s.runner_id IS NOT DISTINCT FROM %(runner)s)
  AND (SELECT count(*) FROM runs_runsnapshot s WHERE s.run_id = r.id AND NOT s.is_valid) < %(most)s
"""


@contextmanager
def keeping_refusals(
    event: Event, *, run_id: str, snapshot_id: str, mover: Mover
) -> Generator[None, None, None]:
    """Keep the move that the block tries, should it be refused; the error goes on to the caller.

    Outermost: the block's own transaction is rolled back before. A run that the caller may not
    touch is left alone, since `RunNotFound` is no refused move.
    """
    try:
        yield
    except IllegalMove as refused:
        keep_refusal(refused.event, str(refused), run_id=run_id, named=snapshot_id, mover=mover)
        raise
    except StaleSnapshot as refused:
        keep_refusal(event, str(refused), run_id=run_id, named=snapshot_id, mover=mover)
        raise


@transaction.atomic
def keep_refusal(
    event: Event, reason: str, *, run_id: str, named: str | None, mover: Mover
) -> None:
    """Keep a refused move; `named` is the snapshot the caller acted on, None for the latest."""
    REFUSED.labels(event.value).inc()
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [run_id])
        cursor.execute(
            _KEEP,
            {
                "candidate": new_id("snapshot"),
                "event": event,
                "error": storable(reason)[:MAX_REASON],
                "named": None if named is None else storable(named)[:ID_LENGTH],
                "worker_group": mover.worker_group_id,
                "worker_instance": mover.worker_instance,
                "runner": mover.runner_id,
                "request_key": mover.request_key,
                "run": run_id,
                "most": MAX_REFUSED,
            },
        )
