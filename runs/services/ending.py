"""End a run, or send it back to its queue. Callers hold the environment's mutex.

Both make the move, take the run out of wherever it is, and put it where it belongs next, in one
transaction; who waits for the slot it held is told after the commit. The run is locked before its
lease, as by those who start an attempt: the other way round the two could wait for each other.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from runs.metrics import MOVES
from runs.moves import ENGINE, Expression, Moved, Mover, RunRow, apply_move
from runs.services.wakeups import announce_ready
from runs.states import KEY_FREEING, Event, RunStatus

NOW = Expression("clock_timestamp()")


def end_run(
    run: RunRow,
    event: Event,
    *,
    description: str,
    outcome: RunStatus | None = None,
    mover: Mover = ENGINE,
    columns: dict[str, Any] | None = None,
) -> Moved:
    """End a run: leave its place, free its slots and, when it failed, its idempotency key."""
    moved = apply_move(
        run,
        event,
        description=description,
        outcome=outcome,
        mover=mover,
        columns={"completed_at": NOW, "ttl_ends_at": None, **(columns or {})},
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT runs_leave_places(%s)", [run.id])
        _end_lease(cursor, run)
    if moved.state.run in KEY_FREEING and run.idempotency_key is not None:
        _free_key(run)
    MOVES.labels(event.value).inc()
    return moved


def requeue_run(
    run: RunRow,
    event: Event,
    *,
    description: str,
    delay_ms: int,
    mover: Mover = ENGINE,
    columns: dict[str, Any] | None = None,
) -> Moved:
    """Put a leased run back into its lane, after a delay if there is one."""
    moved = apply_move(run, event, description=description, mover=mover, columns=columns)
    with connection.cursor() as cursor:
        _end_lease(cursor, run)
    place_run(run, delay_ms=delay_ms)
    MOVES.labels(event.value).inc()
    return moved


def place_run(run: RunRow, *, delay_ms: int = 0) -> None:
    """Make a QUEUED run ready, or ready later."""
    with connection.cursor() as cursor:
        if delay_ms > 0:
            cursor.execute(
                "INSERT INTO runs_delayedentry (run_id, due_at) VALUES"
                " (%s, clock_timestamp() + %s * interval '1 millisecond')",
                [run.id, delay_ms],
            )
            return
        cursor.execute("SELECT runs_enqueue(%s)", [run.id])
    transaction.on_commit(partial(announce_ready, run.worker_queue))


def _end_lease(cursor: CursorWrapper, run: RunRow) -> None:
    cursor.execute("SELECT runs_end_lease(%s)", [run.id])
    (opened,) = cursor.fetchone()
    for queue in opened or ():
        transaction.on_commit(partial(announce_ready, queue))


def _free_key(run: RunRow) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM runs_idempotencykey WHERE environment_id = %s AND task_slug = %s"
            " AND key = %s AND run_id = %s",
            [run.environment_id, run.task_slug, run.idempotency_key, run.id],
        )
