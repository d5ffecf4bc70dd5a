"""What brings runs back to where they belong, whoever forgot them.

A reconciler takes no input: it reads the world and repairs what it finds, a bounded piece at a
time, each run in a transaction of its own. Beat drives them each second and events wake them;
running one twice, or two at once, changes nothing more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import structlog
from django.db import connection, transaction

from deployments.version_info import get_version
from runs.durations import text_of
from runs.lanes import lane_id_of
from runs.metrics import RECONCILED
from runs.moves import ENGINE, Expression, RunRow, apply_move, lock_environment, read_run
from runs.retry import After, Decision, Failure, decide_after_failure, redelivery_delay_ms
from runs.services.attempts import follow_failure, max_attempts_of
from runs.services.ending import NOW, end_run, place_run
from runs.services.leases import redeliver_run
from runs.services.trigger import default_ttl_s
from runs.states import Event, ExecutionStatus, IllegalMove, RunStatus
from tenants.errors import Conflict, NotFound

log = structlog.get_logger(__name__)

BATCH = 500
STALL_RETRY_MS = 250
"""How long the next attempt waits after an attempt that fell silent."""


def release_due_runs() -> int:
    """Make ready what waited for a time that is over; give how many."""
    return _each("release_due_runs", _ids("runs_delayedentry", "due_at <= now()"), _release_due)


def release_waiting_versions() -> int:
    """Make ready what waited for a version that is there now; give how many."""
    waiting = """
        SELECT w.run_id FROM runs_versionwait w
        JOIN deployments_currentversion c ON c.environment_id = w.environment_id
        JOIN deployments_workertask t ON t.worker_id = c.worker_id AND t.slug = w.task_slug
        ORDER BY w.run_id LIMIT %s
    """
    return _each("release_waiting_versions", _fetch(waiting), _release_version)


def repair_stalled_runs() -> int:
    """Take back the leases that ran out: redeliver, retry or cancel; give how many."""
    return _each("repair_stalled_runs", _ids("runs_lease", "due_at <= now()"), _repair_stalled)


def forget_old_keys() -> int:
    """Forget the keys of requests and runs whose time is over; give how many."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM runs_requestkey WHERE created_at < now() - interval '24 hours'")
        forgotten: int = cursor.rowcount
        cursor.execute("DELETE FROM runs_idempotencykey WHERE expires_at <= now()")
        return forgotten + int(cursor.rowcount)


RECONCILERS: dict[str, Callable[[], int]] = {
    function.__name__: function
    for function in (
        release_due_runs,
        release_waiting_versions,
        repair_stalled_runs,
        forget_old_keys,
    )
}


def _ids(table: str, condition: str) -> list[str]:
    return _fetch(f"SELECT run_id FROM {table} WHERE {condition} ORDER BY due_at LIMIT %s")  # noqa: S608


def _fetch(query: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(query, [BATCH])
        return [row[0] for row in cursor.fetchall()]


def _each(name: str, run_ids: Iterable[str], repair: Callable[[RunRow], bool]) -> int:
    """Repair each run under its environment's mutex; one that moved meanwhile is left alone."""
    fixed = 0
    for run_id in run_ids:
        try:
            with transaction.atomic():
                lock_environment(read_run(run_id).environment_id)
                fixed += repair(read_run(run_id))
        except (Conflict, NotFound) as error:
            log.info("reconciler.passed", reconciler=name, run_id=run_id, reason=str(error))
    if fixed:
        RECONCILED.labels(name).inc(fixed)
        log.info("reconciler.fixed", reconciler=name, fixed=fixed)
    return fixed


def _release_due(run: RunRow) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM runs_delayedentry WHERE run_id = %s AND due_at <= now()", [run.id]
        )
        if cursor.rowcount == 0:
            return False
    if run.execution_status is ExecutionStatus.DELAYED:
        columns = {"first_queued_at": NOW}
        apply_move(run, Event.DUE, description="Its delay is over", columns=columns)
    place_run(run)
    return True


def _release_version(run: RunRow) -> bool:
    """Queue the run with its version's settings where the call set none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM runs_versionwait w USING deployments_currentversion c,"
            " deployments_workertask t WHERE w.run_id = %s AND c.environment_id = w.environment_id"
            " AND t.worker_id = c.worker_id AND t.slug = w.task_slug RETURNING c.worker_id",
            [run.id],
        )
        row = cursor.fetchone()
    if row is None:
        return False
    task = get_version(row[0]).tasks[run.task_slug]
    own_queue = run.queue_name != f"task/{run.task_slug}"
    queue = run.queue_name if own_queue else task.queue_name
    columns = {
        "queue_name": queue,
        "lane_id": lane_id_of(run.worker_queue, run.environment_id, queue, run.concurrency_key),
        "first_queued_at": Expression("greatest(clock_timestamp(), delay_until)"),
    }
    ttl_s = default_ttl_s(task, run.environment_type)
    if ttl_s is not None:
        columns["ttl"] = Expression(f"coalesce(ttl, '{text_of(ttl_s)}')")
        columns["ttl_s"] = Expression(f"coalesce(ttl_s, {ttl_s})")
    apply_move(run, Event.RELEASE, description="A version has its task", columns=columns)
    place_run(run, delay_ms=_remaining_delay_ms(run))
    return True


def _remaining_delay_ms(run: RunRow) -> int:
    """Give how long a released run still has to wait for the delay its call asked for."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT greatest(0, ceil(extract(epoch FROM delay_until - now()) * 1000))"
            " FROM runs_taskrun WHERE id = %s",
            [run.id],
        )
        (delay_ms,) = cursor.fetchone()
    return int(delay_ms or 0)


def _repair_stalled(run: RunRow) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM runs_lease WHERE run_id = %s AND due_at <= now()", [run.id])
        if cursor.fetchone() is None:
            return False
    repair = _STALLS.get(run.execution_status)
    if repair is None:
        raise IllegalMove(run.execution_status, Event.REQUEUE)
    repair(run)
    return True


def _stalled_before_start(run: RunRow) -> None:
    delay_ms = redelivery_delay_ms(run.deliveries + 1, jitter=random.random())  # noqa: S311
    redeliver_run(
        run,
        description="Its workload did not start in time",
        delay_ms=delay_ms,
        counted=True,
        mover=ENGINE,
    )


def _stalled_executing(run: RunRow) -> None:
    waiting = run.execution_status is ExecutionStatus.EXECUTING_WITH_WAITPOINTS
    code = "TASK_RUN_STALLED_EXECUTING" + ("_WITH_WAITPOINTS" if waiting else "")
    error = {"type": "INTERNAL_ERROR", "code": code, "message": "The runner fell silent"}
    if run.environment_type == "DEVELOPMENT":
        # Whoever developed has stopped; there is nobody to try again, and nothing failed.
        end = Decision(After.END, RunStatus.CANCELED)
        follow_failure(run, error, end, mover=ENGINE, columns={})
        return
    failure = Failure(
        error=error,
        attempt_number=run.attempt_number,
        max_attempts=max_attempts_of(run),
        retry_delay_ms=STALL_RETRY_MS,
        force_queue=True,
    )
    follow_failure(run, error, decide_after_failure(failure), mover=ENGINE, columns={})


def _stalled_canceling(run: RunRow) -> None:
    end_run(run, Event.CONFIRM_CANCEL, description="Canceled; its workload did not confirm")


_STALLS: dict[ExecutionStatus, Callable[[RunRow], None]] = {
    ExecutionStatus.PENDING_EXECUTING: _stalled_before_start,
    ExecutionStatus.EXECUTING: _stalled_executing,
    ExecutionStatus.EXECUTING_WITH_WAITPOINTS: _stalled_executing,
    ExecutionStatus.PENDING_CANCEL: _stalled_canceling,
}
