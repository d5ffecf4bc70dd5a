"""What brings runs back to where they belong, whoever forgot them.

A reconciler takes no input: it reads the world and repairs what it finds, a bounded piece at a
time, each run in a transaction of its own. Beat drives them each second and events wake them;
running one twice, or two at once, changes nothing more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, LiteralString

import structlog
from django.db import connection, transaction

from deployments.version_info import get_version
from runs.bookkeeping import compare_books
from runs.bulk_work import work_bulk_actions
from runs.durations import text_of
from runs.expiry import expire_waiting_runs
from runs.hourly_counts import count_runs
from runs.lanes import lane_id_of
from runs.metrics import RECONCILED
from runs.moves import ENGINE, Expression, RunRow, apply_move, lock_environment, read_run
from runs.reconciler_records import Fixed
from runs.retention import forget_old_batches, forget_old_bulk_actions, forget_old_runs
from runs.retry import Failure, decide_after_failure, redelivery_delay_ms
from runs.services.attempts import follow_failure, max_attempts_of, max_duration_of
from runs.services.ending import NOW, end_run, place_run
from runs.services.leases import redeliver_run
from runs.services.presence import is_listening
from runs.services.refusals import keep_refusal
from runs.services.trigger import default_ttl_s
from runs.stalls import RETRY_MS, Repair, decide_stall
from runs.states import Event, ExecutionStatus, IllegalMove
from tenants.errors import Conflict, NotFound

log = structlog.get_logger(__name__)

BATCH = 500
KEY_BATCH = 5_000
MAX_KEY_BATCHES = 400  # of each kind in one run: no tick takes for ever, the next goes on


def release_due_runs() -> Fixed:
    """Make ready what waited for a time that is over; give how many."""
    return _each("release_due_runs", _ids("runs_delayedentry", "due_at <= now()"), _release_due)


def release_waiting_versions() -> Fixed:
    """Make ready what waited for a version that is there now; give how many."""
    waiting = """
        SELECT w.run_id FROM runs_versionwait w
        JOIN deployments_currentversion c ON c.environment_id = w.environment_id
        JOIN deployments_workertask t ON t.worker_id = c.worker_id AND t.slug = w.task_slug
        ORDER BY w.run_id LIMIT %s
    """
    return _each("release_waiting_versions", _fetch(waiting), _release_version)


def repair_stalled_runs() -> Fixed:
    """Take back the leases that ran out: redeliver, retry or cancel; give how many.

    While nobody can hear runners, none has; see `runs/services/presence.py`.
    """
    if not is_listening():
        return Fixed(0)
    return _each("repair_stalled_runs", _ids("runs_lease", "due_at <= now()"), _repair_stalled)


def end_overlong_attempts() -> Fixed:
    """Time out the attempts that took longer than they may; give how many.

    Their runners do that first. This is for those that do not: a workload that hangs, or one that
    is gone while something goes on sending its heartbeats. Time in which nobody could hear runners
    does not count.
    """
    if not is_listening():
        return Fixed(0)
    overlong = """
        SELECT l.run_id FROM runs_lease l JOIN runs_taskrun r ON r.id = l.run_id
        WHERE l.attempt_ends_at <= now() AND r.execution_status = 'EXECUTING'
        ORDER BY l.attempt_ends_at LIMIT %s
    """
    return _each("end_overlong_attempts", _fetch(overlong), _end_overlong)


def forget_old_keys() -> int:
    """Forget the keys of requests, runs and batches whose time is over; give how many."""
    return sum(
        _forget(table, condition)
        for table, condition in (
            ("runs_requestkey", "created_at < now() - interval '24 hours'"),
            ("runs_idempotencykey", "expires_at <= now()"),
            ("runs_batchkey", "created_at < now() - interval '24 hours'"),
        )
    )


def _forget(table: str, condition: str) -> int:
    """Delete what meets the condition, piece by piece; what a trigger takes over now is left."""
    query = f"""
        DELETE FROM {table} WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM {table} WHERE {condition} LIMIT {KEY_BATCH} FOR UPDATE SKIP LOCKED))
    """  # noqa: S608  both come from this module
    forgotten = 0
    with connection.cursor() as cursor:
        for _ in range(MAX_KEY_BATCHES):
            cursor.execute(query)
            forgotten += cursor.rowcount
            if cursor.rowcount < KEY_BATCH:
                break
    return forgotten


RECONCILERS: dict[str, Callable[[], int]] = {
    function.__name__: function
    for function in (
        release_due_runs,
        release_waiting_versions,
        repair_stalled_runs,
        end_overlong_attempts,
        expire_waiting_runs,
        count_runs,
        forget_old_keys,
        forget_old_runs,
        forget_old_batches,
        forget_old_bulk_actions,
        compare_books,
        work_bulk_actions,
    )
}


_RELEASED_AT = Expression("greatest(clock_timestamp(), delay_until)")


def _ids(table: str, condition: str) -> list[str]:
    return _fetch(f"SELECT run_id FROM {table} WHERE {condition} ORDER BY due_at LIMIT %s")  # noqa: S608


def _fetch(query: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(query, [BATCH])
        return [row[0] for row in cursor.fetchall()]


def _each(name: str, run_ids: Sequence[str], repair: Callable[[RunRow], bool]) -> Fixed:
    """Repair each run under its environment's mutex; one that moved meanwhile is left alone."""
    fixed = 0
    for run_id in run_ids:
        try:
            with transaction.atomic():
                lock_environment(read_run(run_id).environment_id)
                fixed += repair(read_run(run_id))
        except (Conflict, NotFound) as error:
            if isinstance(error, IllegalMove):
                keep_refusal(error.event, str(error), run_id=run_id, named=None, mover=ENGINE)
            log.info("reconciler.passed", reconciler=name, run_id=run_id, reason=str(error))
    if fixed:
        RECONCILED.labels(name).inc(fixed)
        log.info("reconciler.fixed", reconciler=name, fixed=fixed)
    return Fixed(fixed, found=len(run_ids))


def _release_due(run: RunRow) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM runs_delayedentry WHERE run_id = %s AND due_at <= now()", [run.id]
        )
        if cursor.rowcount == 0:
            return False
    if run.execution_status is ExecutionStatus.DELAYED:
        columns: dict[LiteralString, Any] = {
            "first_queued_at": NOW,
            **_ttl_columns(None, since=NOW),
        }
        apply_move(run, Event.DUE, description="Its delay is over", columns=columns)
    elif run.execution_status is ExecutionStatus.SUSPENDED:
        apply_move(run, Event.UNBLOCK, description="Nothing it waits for is left")
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
    columns: dict[LiteralString, Any] = {
        "queue_name": queue,
        "lane_id": lane_id_of(run.worker_queue, run.environment_id, queue, run.concurrency_key),
        "first_queued_at": _RELEASED_AT,
    }
    columns |= _ttl_columns(default_ttl_s(task, run.environment_type), since=_RELEASED_AT)
    apply_move(run, Event.RELEASE, description="A version has its task", columns=columns)
    place_run(run, delay_ms=_remaining_delay_ms(run))
    return True


def _ttl_columns(default_s: int | None, *, since: Expression) -> dict[LiteralString, Expression]:
    """Give how long a run may wait from a moment on: its call's word, else the default."""
    ttl_s = "ttl_s"
    columns: dict[LiteralString, Expression] = {}
    if default_s is not None:
        ttl_s = f"coalesce(ttl_s, {default_s})"
        columns["ttl"] = Expression(f"coalesce(ttl, '{text_of(default_s)}')")
        columns["ttl_s"] = Expression(ttl_s)
    # Counted once: a run that was handed out before has waited already.
    columns["ttl_ends_at"] = Expression(
        f"CASE WHEN dispatch_number = 0 THEN {since} + {ttl_s} * interval '1 second' END"
    )
    return columns


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
    stalled = decide_stall(run.execution_status)
    if stalled is None:
        raise IllegalMove(run.execution_status, Event.REQUEUE)
    if stalled.repair is Repair.REDELIVER:
        _redeliver(run)
    elif stalled.repair is Repair.CONFIRM_CANCEL:
        end_run(run, Event.CONFIRM_CANCEL, description="Canceled; its workload did not confirm")
    else:
        _fail_silent(run, str(stalled.code))
    return True


def _redeliver(run: RunRow) -> None:
    delay_ms = redelivery_delay_ms(run.deliveries + 1, jitter=random.random())  # noqa: S311
    redeliver_run(
        run,
        description="Its workload did not start in time",
        delay_ms=delay_ms,
        counted=True,
        mover=ENGINE,
    )


def _fail_silent(run: RunRow, code: str) -> None:
    """Fail the attempt; in development nothing failed, and the run is canceled."""
    error = {"type": "INTERNAL_ERROR", "code": code, "message": "The runner fell silent"}
    failure = Failure(
        error=error,
        attempt_number=run.attempt_number,
        max_attempts=max_attempts_of(run),
        retry_delay_ms=RETRY_MS,
        lost_attempts=run.lost_attempts,
        force_queue=True,
        in_development=run.environment_type == "DEVELOPMENT",
    )
    follow_failure(run, error, decide_after_failure(failure), mover=ENGINE, columns={})


def _end_overlong(run: RunRow) -> bool:
    """Time out an attempt that its runner should have ended."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM runs_lease WHERE run_id = %s AND attempt_ends_at <= now()", [run.id]
        )
        if cursor.fetchone() is None or run.execution_status is not ExecutionStatus.EXECUTING:
            return False
    error = {
        "type": "INTERNAL_ERROR",
        "code": "MAX_DURATION_EXCEEDED",
        "message": f"The attempt took longer than its max duration of {max_duration_of(run)} s",
    }
    failure = Failure(error, run.attempt_number, max_attempts_of(run), retry_delay_ms=None)
    follow_failure(run, error, decide_after_failure(failure), mover=ENGINE, columns={})
    return True
