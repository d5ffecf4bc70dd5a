"""What runners do: start an attempt, keep it alive, end it.

Every call names the snapshot it acts on. A stale one is refused, except when it is the repeat of a
call that already succeeded: the same runner, or the same request key, gets the same answer again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from deployments.version_info import get_version
from runs.contracts import AttemptFailed, AttemptSucceeded
from runs.errors import RunNotFound, StaleSnapshot
from runs.moves import (
    Expression,
    Moved,
    Mover,
    RunRow,
    apply_move,
    lock_environment,
    read_run,
)
from runs.retry import MAX_ATTEMPTS, After, Decision, Failure, decide_after_failure
from runs.services.ending import end_run, requeue_run
from runs.states import Event, ExecutionStatus, IllegalMove, RunStatus

ATTEMPT_STATUS: dict[After, str] = {
    After.CANCEL: "RUN_FINISHED",
    After.RETRY_IN_PLACE: "RETRY_IMMEDIATELY",
    After.RETRY_QUEUED: "RETRY_QUEUED",
    After.END: "RUN_FINISHED",
}

# The moves that end an attempt.
COMPLETING = (
    Event.SUCCEED,
    Event.FAIL,
    Event.RETRY_IN_PLACE,
    Event.RETRY_QUEUED,
    Event.CONFIRM_CANCEL,
)


class Scope(NamedTuple):
    """Whose runs a caller may touch: those its worker group leased, or its environment's."""

    worker_group_id: str | None = None
    environment_id: str | None = None  # development only


class Completed(NamedTuple):
    """What became of a completed attempt."""

    attempt_status: str
    run_id: str


@transaction.atomic
def start_attempt(*, run_id: str, snapshot_id: str, scope: Scope, mover: Mover) -> str:
    """Start the next attempt and give the id of the snapshot it runs under.

    Raises `RunNotFound`, `StaleSnapshot`, or `IllegalMove` when the run waits for no attempt.
    """
    run = read_run(run_id)
    check_scope(run, scope)
    if run.snapshot_id != snapshot_id:
        return _repeated(run, snapshot_id, mover, (Event.START,))
    in_place = run.status is RunStatus.RETRYING_AFTER_FAILURE
    if run.execution_status is ExecutionStatus.EXECUTING and not in_place:
        raise IllegalMove(run.execution_status, Event.START)
    moved = apply_move(
        run,
        Event.START,
        description="Attempt started",
        mover=mover,
        columns={
            "attempt_number": Expression("attempt_number + 1"),
            "started_at": Expression("coalesce(started_at, clock_timestamp())"),
        },
    )
    extend_lease(run.id, settings.ENV.timeout_executing_ms)
    return moved.snapshot_id


@transaction.atomic
def continue_run(*, run_id: str, snapshot_id: str, scope: Scope, mover: Mover) -> str:
    """Let a restored workload go on with the attempt it was saved in; give the new snapshot."""
    run = read_run(run_id)
    check_scope(run, scope)
    if run.snapshot_id != snapshot_id:
        return _repeated(run, snapshot_id, mover, (Event.CONTINUE,))
    moved = apply_move(run, Event.CONTINUE, description="Continued", mover=mover)
    extend_lease(run.id, settings.ENV.timeout_executing_ms)
    return moved.snapshot_id


def heartbeat_run(*, run_id: str, snapshot_id: str, scope: Scope) -> bool:
    """Keep an executing run from counting as stalled; False for a stale snapshot."""
    timeout_ms = settings.ENV.timeout_executing_ms
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE runs_lease l SET due_at = greatest(due_at,
              clock_timestamp() + %(timeout)s * interval '1 millisecond')
            FROM runs_taskrun r
            WHERE l.run_id = %(run)s AND r.id = l.run_id AND r.snapshot_id = %(snapshot)s
              AND r.execution_status IN ('EXECUTING', 'EXECUTING_WITH_WAITPOINTS')
              AND (%(group)s::text IS NULL OR l.worker_group_id = %(group)s)
              AND (%(environment)s::text IS NULL OR l.environment_id = %(environment)s)
            """,
            {
                "timeout": timeout_ms,
                "run": run_id,
                "snapshot": snapshot_id,
                "group": scope.worker_group_id,
                "environment": scope.environment_id,
            },
        )
        extended: bool = cursor.rowcount == 1
    return extended


@transaction.atomic
def complete_attempt(
    *,
    run_id: str,
    snapshot_id: str,
    completion: AttemptSucceeded | AttemptFailed,
    scope: Scope,
    mover: Mover,
    force_queue: bool = False,
) -> Completed:
    """End the attempt and decide what follows.

    Raises `RunNotFound`, `StaleSnapshot`, or `IllegalMove` when no attempt is under way.
    """
    seen = read_run(run_id)
    check_scope(seen, scope)
    lock_environment(seen.environment_id)
    run = read_run(run_id)
    if run.snapshot_id != snapshot_id:
        _repeated(run, snapshot_id, mover, COMPLETING)
        return Completed(_attempt_status_of(run), run_id)
    columns = _recorded(completion)
    if run.execution_status is ExecutionStatus.PENDING_CANCEL:
        end_run(run, Event.CONFIRM_CANCEL, description="Canceled", mover=mover, columns=columns)
        return Completed("RUN_FINISHED", run_id)
    if isinstance(completion, AttemptSucceeded):
        columns |= {"output": completion.output, "output_type": completion.outputType}
        end_run(run, Event.SUCCEED, description="Completed", mover=mover, columns=columns)
        return Completed("RUN_FINISHED", run_id)
    decision = decide_after_failure(_failure(run, completion, force_queue=force_queue))
    follow_failure(run, completion.error.to_wire(), decision, mover=mover, columns=columns)
    return Completed(ATTEMPT_STATUS[decision.after], run_id)


def follow_failure(
    run: RunRow,
    error: Mapping[str, object],
    decision: Decision,
    *,
    mover: Mover,
    columns: dict[str, object],
) -> Moved:
    """Do what was decided about a failed attempt. The caller holds the environment's mutex."""
    if decision.after is After.CANCEL:
        apply_move(run, Event.CANCEL, description="The workload says canceled", mover=mover)
        pending = read_run(run.id)
        return end_run(
            pending, Event.CONFIRM_CANCEL, description="Canceled", mover=mover, columns=columns
        )
    if decision.after is After.END:
        return end_run(
            run,
            Event.FAIL,
            outcome=decision.status,
            description="Attempt failed",
            mover=mover,
            columns={**columns, "error": Jsonb(dict(error))},
        )
    if decision.after is After.RETRY_IN_PLACE:
        moved = apply_move(
            run,
            Event.RETRY_IN_PLACE,
            description="Attempt failed, retrying in place",
            mover=mover,
            columns=columns,
        )
        extend_lease(run.id, decision.delay_ms + settings.ENV.timeout_executing_ms)
        return moved
    machine = {"machine": decision.machine} if decision.machine else {}
    return requeue_run(
        run,
        Event.RETRY_QUEUED,
        description="Attempt failed, retrying through the queue",
        delay_ms=decision.delay_ms,
        mover=mover,
        columns={**columns, **machine, "deliveries": 0},
    )


def extend_lease(run_id: str, timeout_ms: int) -> None:
    """Give a leased run this long from now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_lease SET due_at = clock_timestamp() + %s * interval '1 millisecond'"
            " WHERE run_id = %s",
            [timeout_ms, run_id],
        )


def check_scope(run: RunRow, scope: Scope) -> None:
    """Raise `RunNotFound` unless the caller may touch this run."""
    if scope.environment_id is not None:
        if run.environment_id != scope.environment_id:
            raise RunNotFound(run.id)
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM runs_runsnapshot WHERE run_id = %s AND worker_group_id = %s LIMIT 1",
            [run.id, scope.worker_group_id],
        )
        if cursor.fetchone() is None:
            raise RunNotFound(run.id)


def _repeated(run: RunRow, snapshot_id: str, mover: Mover, events: tuple[Event, ...]) -> str:
    """Give the latest snapshot's id if the same caller made it from `snapshot_id`; else raise."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT 1 FROM runs_runsnapshot WHERE run_id = %s AND id = %s AND previous_id = %s
              AND event = ANY (%s) AND (request_key = %s OR runner_id = %s)
            """,
            [
                run.id,
                run.snapshot_id,
                snapshot_id,
                [event.value for event in events],
                mover.request_key,
                mover.runner_id,
            ],
        )
        if cursor.fetchone() is None:
            raise StaleSnapshot(run.id, snapshot_id)
    return run.snapshot_id


def _attempt_status_of(run: RunRow) -> str:
    if run.execution_status is ExecutionStatus.FINISHED:
        return "RUN_FINISHED"
    if run.execution_status is ExecutionStatus.PENDING_CANCEL:
        return "RUN_PENDING_CANCEL"
    return "RETRY_QUEUED" if run.execution_status is ExecutionStatus.QUEUED else "RETRY_IMMEDIATELY"


def _failure(run: RunRow, completion: AttemptFailed, *, force_queue: bool) -> Failure:
    retry = completion.retry
    return Failure(
        error=completion.error.to_wire(),
        attempt_number=run.attempt_number,
        max_attempts=max_attempts_of(run),
        retry_delay_ms=None if retry is None else retry.delay,
        skipped_retrying=completion.skippedRetrying,
        force_queue=force_queue,
        warm_start_threshold_ms=settings.ENV.retry_warm_start_threshold_ms,
    )


def max_attempts_of(run: RunRow) -> int:
    """Give how many attempts a run may have: the call's word, else its version's."""
    if run.max_attempts is not None:
        return run.max_attempts
    if run.worker_id is None:
        return MAX_ATTEMPTS
    return get_version(run.worker_id).tasks[run.task_slug].max_attempts


def _recorded(completion: AttemptSucceeded | AttemptFailed) -> dict[str, object]:
    columns: dict[str, object] = {}
    if completion.usage is not None:
        spent_ms = max(0, int(completion.usage.durationMs))
        columns["usage_ms"] = Expression(f"usage_ms + {spent_ms}")
    flushed = completion.flushedMetadata
    if flushed is not None and flushed.data is not None:
        columns |= {"metadata": flushed.data, "metadata_type": flushed.dataType}
    return columns
