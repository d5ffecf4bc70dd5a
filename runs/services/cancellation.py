"""Cancel runs, whatever they are doing."""

from __future__ import annotations

from django.conf import settings
from django.db import connection, transaction

from runs.errors import RunNotFound
from runs.moves import apply_move, lock_environment, lock_run, read_run
from runs.services.attempts import extend_lease
from runs.services.ending import end_run
from runs.states import LEASED, Event, ExecutionStatus, RunStatus

MAX_DESCENDANTS = 100_000


def cancel_run(*, environment_id: str, run_id: str) -> None:
    """Cancel a run and the runs it started; a run that is over stays as it is.

    A run that nobody executes is over at once. One that is executing is over when its workload
    confirms, or after a while without. Raise `RunNotFound` for another environment's run.
    """
    waiting = [run_id]
    seen: set[str] = set()
    while waiting and len(seen) < MAX_DESCENDANTS:
        current = waiting.pop()
        seen.add(current)
        if not _cancel_one(environment_id, current):
            continue
        waiting += [child for child in _live_children(current) if child not in seen]


@transaction.atomic
def _cancel_one(environment_id: str, run_id: str) -> bool:
    """Cancel a run unless it is over; tell whether it is a canceled one now."""
    if read_run(run_id).environment_id != environment_id:
        raise RunNotFound(run_id)
    lock_environment(environment_id)
    run = lock_run(run_id)
    if run.execution_status in {ExecutionStatus.FINISHED, ExecutionStatus.PENDING_CANCEL}:
        return run.status is RunStatus.CANCELED
    if run.execution_status in LEASED:
        apply_move(run, Event.CANCEL, description="Cancel requested")
        extend_lease(run.id, settings.ENV.timeout_pending_cancel_ms)
    else:
        end_run(run, Event.CANCEL, description="Canceled")
    return True


def _live_children(run_id: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM runs_taskrun WHERE parent_run_id = %s"
            " AND execution_status <> 'FINISHED'",
            [run_id],
        )
        return [row[0] for row in cursor.fetchall()]
