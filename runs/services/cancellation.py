"""Cancel runs, whatever they are doing."""

from __future__ import annotations

from django.conf import settings
from django.db import connection, transaction

from runs.errors import RunNotFound
from runs.moves import apply_move, lock_environment, read_run
from runs.services.attempts import extend_lease
from runs.services.ending import end_run
from runs.states import LEASED, Event, ExecutionStatus

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
        _cancel_one(environment_id, current)
        waiting += [child for child in _live_children(current) if child not in seen]


@transaction.atomic
def _cancel_one(environment_id: str, run_id: str) -> None:
    if read_run(run_id).environment_id != environment_id:
        raise RunNotFound(run_id)
    lock_environment(environment_id)
    run = read_run(run_id)
    if run.execution_status in {ExecutionStatus.FINISHED, ExecutionStatus.PENDING_CANCEL}:
        return
    if run.execution_status in LEASED:
        apply_move(run, Event.CANCEL, description="Cancel requested")
        extend_lease(run.id, settings.ENV.timeout_pending_cancel_ms)
        return
    end_run(run, Event.CANCEL, description="Canceled")


def _live_children(run_id: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM runs_taskrun WHERE parent_run_id = %s"
            " AND execution_status NOT IN ('FINISHED', 'PENDING_CANCEL')",
            [run_id],
        )
        return [row[0] for row in cursor.fetchall()]
