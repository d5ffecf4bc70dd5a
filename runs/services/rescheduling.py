"""Give a delayed run another time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

from django.db import connection, transaction

from runs.errors import NotDelayed, RunNotFound
from runs.moves import Expression, apply_move, lock_environment, read_run
from runs.states import Event, ExecutionStatus


@transaction.atomic
def reschedule_run(*, environment_id: str, run_id: str, delay_until: datetime) -> None:
    """Let a delayed run wait until another moment, earlier or later than its own.

    Its place in the queue counts from the new moment, and its ttl from when that has come. Raise
    `RunNotFound` for another environment's run, `NotDelayed` for one that waits for no time.
    """
    if read_run(run_id).environment_id != environment_id:
        raise RunNotFound(run_id)
    lock_environment(environment_id)
    run = read_run(run_id)
    if run.execution_status is not ExecutionStatus.DELAYED:
        raise NotDelayed
    columns: dict[LiteralString, Any] = {
        "delay_until": delay_until,
        "score": Expression(f"{int(delay_until.timestamp() * 1000)} - priority_ms"),
    }
    apply_move(run, Event.RESCHEDULE, description="Its delay was changed", columns=columns)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_delayedentry (run_id, due_at) VALUES (%s, %s)"
            " ON CONFLICT (run_id) DO UPDATE SET due_at = excluded.due_at",
            [run_id, delay_until],
        )
