"""What runners do: start an attempt, keep it alive, end it.

Every call names the snapshot it acts on. A stale one is refused, except when it is the repeat of a
call that already succeeded: the same runner, or the same request key, gets the same answer again.
What is refused is kept for the record (`runs/services/refusals.py`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, LiteralString, NamedTuple

import structlog
from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from deployments.version_info import get_version
from runs.calls import MAX_OUTPUT_BYTES
from runs.contracts import AttemptFailed, AttemptSucceeded
from runs.errors import RunNotFound, StaleSnapshot, TooLarge
from runs.moves import (
    Expression,
    Moved,
    Mover,
    RunRow,
    apply_move,
    lock_environment,
    read_run,
)
from runs.retry import (
    MAX_ATTEMPTS,
    After,
    Decision,
    Failure,
    decide_after_failure,
    larger_machine,
    settings_delay_ms,
)
from runs.services.ending import end_run, requeue_run
from runs.services.refusals import keeping_refusals
from runs.states import Event, ExecutionStatus, IllegalMove, RunStatus
from runs.storable import json_value, storable, storable_values

log = structlog.get_logger(__name__)

MAX_USAGE_MS = 10 * 365 * 86_400_000

ATTEMPT_STATUS: dict[After, str] = {
    After.CANCEL: "RUN_FINISHED",
    After.RETRY_IN_PLACE: "RETRY_IMMEDIATELY",
    After.RETRY_QUEUED: "RETRY_QUEUED",
    After.END: "RUN_FINISHED",
}

# The first move of each way to end an attempt, and what the one who ended it was told.
TOLD: dict[Event, str] = {
    Event.SUCCEED: "RUN_FINISHED",
    Event.FAIL: "RUN_FINISHED",
    Event.CANCEL: "RUN_FINISHED",
    Event.CONFIRM_CANCEL: "RUN_FINISHED",
    Event.RETRY_IN_PLACE: "RETRY_IMMEDIATELY",
    Event.RETRY_QUEUED: "RETRY_QUEUED",
}


class Scope(NamedTuple):
    """Whose runs a caller may touch: those its worker group leased, or its environment's."""

    worker_group_id: str | None = None
    environment_id: str | None = None  # development only


class Completed(NamedTuple):
    """What became of a completed attempt."""

    attempt_status: str
    run_id: str


def start_attempt(*, run_id: str, snapshot_id: str, scope: Scope, mover: Mover) -> str:
    """Start the next attempt and give the id of the snapshot it runs under.

    Raises `RunNotFound`, `StaleSnapshot`, or `IllegalMove` when the run waits for no attempt.
    """
    refused = keeping_refusals(Event.START, run_id=run_id, snapshot_id=snapshot_id, mover=mover)
    with refused, transaction.atomic():
        return _start(run_id, snapshot_id, scope, mover)


def _start(run_id: str, snapshot_id: str, scope: Scope, mover: Mover) -> str:
    run = read_run(run_id)
    check_scope(run, scope)
    if run.snapshot_id != snapshot_id:
        return _again(run, snapshot_id, mover, Event.START)
    in_place = run.status is RunStatus.RETRYING_AFTER_FAILURE
    if run.execution_status is ExecutionStatus.EXECUTING and not in_place:
        raise IllegalMove(run.execution_status, Event.START)
    columns = {
        "attempt_number": Expression("attempt_number + 1"),
        "started_at": Expression("coalesce(started_at, clock_timestamp())"),
    }
    return _go(run, Event.START, description="Attempt started", mover=mover, columns=columns)


def continue_run(*, run_id: str, snapshot_id: str, scope: Scope, mover: Mover) -> str:
    """Let a restored workload go on with the attempt it was saved in; give the new snapshot."""
    refused = keeping_refusals(Event.CONTINUE, run_id=run_id, snapshot_id=snapshot_id, mover=mover)
    with refused, transaction.atomic():
        run = read_run(run_id)
        check_scope(run, scope)
        if run.snapshot_id != snapshot_id:
            return _again(run, snapshot_id, mover, Event.CONTINUE)
        return _go(run, Event.CONTINUE, description="Continued", mover=mover, columns={})


def _go(
    run: RunRow, event: Event, *, description: str, mover: Mover, columns: dict[LiteralString, Any]
) -> str:
    """Make a move that begins execution; a repeat that was made at the same time finds it made."""
    try:
        moved = apply_move(run, event, description=description, mover=mover, columns=columns)
    except StaleSnapshot:
        return _again(read_run(run.id), run.snapshot_id, mover, event)
    extend_lease(run.id, settings.ENV.timeout_executing_ms, attempt_ms=_attempt_ms(run))
    return moved.snapshot_id


def _attempt_ms(run: RunRow) -> int | None:
    """Give the milliseconds after which the engine ends an attempt that its runner did not end."""
    max_duration_s = max_duration_of(run)
    if max_duration_s is None:
        return None
    return max_duration_s * 1000 + settings.ENV.max_duration_grace_ms


def heartbeat_run(*, run_id: str, snapshot_id: str, scope: Scope) -> bool:
    """Keep an executing run from counting as stalled; False for a stale snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE runs_lease l SET due_at = greatest(due_at,
              clock_timestamp() + interval '1 millisecond'
                * CASE r.execution_status WHEN 'EXECUTING' THEN %(timeout)s ELSE %(waiting)s END)
            FROM runs_taskrun r
            WHERE l.run_id = %(run)s AND r.id = l.run_id AND r.snapshot_id = %(snapshot)s
              AND r.execution_status IN ('EXECUTING', 'EXECUTING_WITH_WAITPOINTS')
              AND (%(group)s::text IS NULL OR l.worker_group_id = %(group)s)
              AND (%(environment)s::text IS NULL OR l.environment_id = %(environment)s)
            """,
            {
                "timeout": settings.ENV.timeout_executing_ms,
                "waiting": settings.ENV.timeout_executing_with_waitpoints_ms,
                "run": run_id,
                "snapshot": snapshot_id,
                "group": scope.worker_group_id,
                "environment": scope.environment_id,
            },
        )
        extended: bool = cursor.rowcount == 1
    return extended


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
    event = Event.SUCCEED if completion.ok else Event.FAIL
    refused = keeping_refusals(event, run_id=run_id, snapshot_id=snapshot_id, mover=mover)
    with refused, transaction.atomic():
        seen = read_run(run_id)
        check_scope(seen, scope)
        lock_environment(seen.environment_id)
        return _complete(read_run(run_id), snapshot_id, completion, mover, force_queue=force_queue)


def _complete(
    run: RunRow,
    snapshot_id: str,
    completion: AttemptSucceeded | AttemptFailed,
    mover: Mover,
    *,
    force_queue: bool,
) -> Completed:
    run_id = run.id
    if run.snapshot_id != snapshot_id:
        made = _find_repeated(run_id, snapshot_id, mover)
        if made is None or made.event not in TOLD:
            raise StaleSnapshot(run_id, snapshot_id)
        return Completed(TOLD[made.event], run_id)
    columns = _recorded(completion)
    if run.execution_status is ExecutionStatus.PENDING_CANCEL:
        end_run(run, Event.CONFIRM_CANCEL, description="Canceled", mover=mover, columns=columns)
        return Completed("RUN_FINISHED", run_id)
    if isinstance(completion, AttemptSucceeded):
        columns |= _output(completion)
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
    ended = "lost" if decision.is_lost else "failed"
    if decision.is_lost:
        columns = {**columns, "lost_attempts": Expression("lost_attempts + 1")}
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
            columns={**columns, "error": Jsonb(storable_values(dict(error)))},
        )
    if decision.after is After.RETRY_IN_PLACE:
        moved = apply_move(
            run,
            Event.RETRY_IN_PLACE,
            description=f"Attempt {ended}, retrying in place",
            mover=mover,
            columns=columns,
        )
        extend_lease(run.id, decision.delay_ms + settings.ENV.timeout_executing_ms)
        return moved
    machine = {"machine": decision.machine} if decision.machine else {}
    return requeue_run(
        run,
        Event.RETRY_QUEUED,
        description=f"Attempt {ended}, retrying through the queue",
        delay_ms=decision.delay_ms,
        mover=mover,
        columns={**columns, **machine, "deliveries": 0},
    )


def extend_lease(run_id: str, timeout_ms: int, *, attempt_ms: int | None = None) -> None:
    """Give a leased run this long from now, and the attempt that begins this long in all."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_lease SET due_at = clock_timestamp() + %s * interval '1 millisecond',"
            " attempt_ends_at = clock_timestamp() + %s * interval '1 millisecond'"
            " WHERE run_id = %s",
            [timeout_ms, attempt_ms, run_id],
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


class _Made(NamedTuple):
    """The move that was made from a snapshot."""

    snapshot_id: str
    event: Event


def _find_repeated(run_id: str, snapshot_id: str, mover: Mover) -> _Made | None:
    """Give the move that the same caller made from `snapshot_id`, None when it made none."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, event FROM runs_runsnapshot
            WHERE run_id = %s AND previous_id = %s AND is_valid
              AND (request_key = %s OR runner_id = %s)
            """,
            [run_id, snapshot_id, mover.request_key, mover.runner_id],
        )
        row = cursor.fetchone()
    return None if row is None else _Made(row[0], Event(row[1]))


def _again(run: RunRow, snapshot_id: str, mover: Mover, event: Event) -> str:
    """Give the latest snapshot's id if the same caller made it from `snapshot_id`; else raise."""
    made = _find_repeated(run.id, snapshot_id, mover)
    if made != _Made(run.snapshot_id, event):
        raise StaleSnapshot(run.id, snapshot_id)
    return run.snapshot_id


def _failure(run: RunRow, completion: AttemptFailed, *, force_queue: bool) -> Failure:
    asked, settled = completion.retry, _retry_settings(run)
    return Failure(
        error=completion.error.to_wire(),
        attempt_number=run.attempt_number,
        max_attempts=max_attempts_of(run),
        retry_delay_ms=None if asked is None else asked.delay,
        lost_attempts=run.lost_attempts,
        settings_delay_ms=settings_delay_ms(
            settled,
            run.attempt_number - run.lost_attempts,
            jitter=random.random(),  # noqa: S311
        ),
        skipped_retrying=completion.skippedRetrying,
        force_queue=force_queue,
        warm_start_threshold_ms=settings.ENV.retry_warm_start_threshold_ms,
        larger_machine=larger_machine(settled, run.machine),
        in_development=run.environment_type == "DEVELOPMENT",
    )


def _retry_settings(run: RunRow) -> Mapping[str, Any] | None:
    """Give how the run's version says its task is tried again, in wire form."""
    return None if run.worker_id is None else get_version(run.worker_id).tasks[run.task_slug].retry


def max_attempts_of(run: RunRow) -> int:
    """Give how many attempts a run may have: the call's word, else its version's."""
    if run.max_attempts is not None:
        return run.max_attempts
    if run.worker_id is None:
        return MAX_ATTEMPTS
    return get_version(run.worker_id).tasks[run.task_slug].max_attempts


def max_duration_of(run: RunRow) -> int | None:
    """Give the seconds an attempt may take: the call's word, else its version's; None: no limit."""
    if run.max_duration_s is not None or run.worker_id is None:
        return run.max_duration_s
    return get_version(run.worker_id).tasks[run.task_slug].max_duration_s


def _output(completion: AttemptSucceeded) -> dict[LiteralString, object]:
    output = completion.output
    if output is not None and len(output.encode(errors="replace")) > MAX_OUTPUT_BYTES:
        raise TooLarge("output", MAX_OUTPUT_BYTES)
    return {
        "output": None if output is None else storable(output),
        "output_type": completion.outputType,
    }


def _recorded(completion: AttemptSucceeded | AttemptFailed) -> dict[LiteralString, object]:
    columns: dict[LiteralString, object] = {}
    if completion.usage is not None:
        spent_ms = int(min(max(0, completion.usage.durationMs), MAX_USAGE_MS))
        columns["usage_ms"] = Expression(f"usage_ms + {spent_ms}")
    flushed = completion.flushedMetadata
    if flushed is not None and flushed.data is not None:
        if _is_object(flushed.data):
            columns |= {"metadata": flushed.data, "metadata_type": flushed.dataType}
        else:
            log.warning("metadata.unreadable", run_id=completion.id)
    return columns


def _is_object(text: str) -> bool:
    """Tell whether a text is a JSON object that others can read."""
    try:
        value = json_value(text)
    except ValueError:
        return False
    return isinstance(value, dict) and storable(text) == text
