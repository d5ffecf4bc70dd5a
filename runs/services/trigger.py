"""Trigger a run: gather, decide, one statement.

This is the one service that opens no transaction: the statement is all of it, in autocommit. A warm
trigger costs that one round trip, or its part of one that it shares with others of its environment
(`runs/services/trigger_writes.py`); what it is decided from is in memory.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from deployments.environment_entry import EnvironmentEntry, TaskSettings, entry_for, refresh
from deployments.version_info import TaskInfo, VersionInfo, find_version
from ledger.ids import new_id
from runs.base import Base, base_for, place_on
from runs.calls import MAX_METADATA_BYTES, MAX_TAGS, TriggerCall, Triggered
from runs.durations import text_of
from runs.errors import RunNotFound, TooLarge
from runs.lanes import lane_id_of
from runs.machines import DEFAULT_MACHINE, PRESETS
from runs.metrics import TRIGGERED
from runs.placement import Placement
from runs.services.trigger_writes import write_run
from runs.services.wakeups import announce_ready
from runs.states import ExecutionStatus, RunStatus
from runs.trigger_statement import Place
from tenants.credentials import Caller
from tenants.entitlements.access import check_access
from tenants.errors import Refused

DEVELOPMENT_TTL_S = 600
MAX_DEPTH = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_TRIES = 3  # a key may be freed between the statement and the look at who holds it


class Parent(NamedTuple):
    """Where a child run hangs."""

    depth: int
    parent_run_id: str | None
    root_run_id: str | None


NO_PARENT = Parent(0, None, None)


class Code(NamedTuple):
    """The version a run is for: the one the call names, else what is current when it is taken."""

    task: TaskSettings | TaskInfo | None  # None: no version has it yet
    locked: VersionInfo | None


class Given(NamedTuple):
    """What a run is made from."""

    caller: Caller
    call: TriggerCall
    code: Code
    placement: Placement
    revision: int | None
    parent: Parent
    place: Place
    now: datetime


def trigger_run(caller: Caller, call: TriggerCall, *, now: datetime) -> Triggered:
    """Make a run, or give the one that already holds the call's keys.

    Raises `Refused` (422) for an organization without access, and for a region, version or tags
    that cannot be; `TooLarge` for metadata, `RunNotFound` for an unknown parent.
    """
    check_access(caller)
    given = given_for(caller, call, now=now)
    return _write(given, columns_of(given))


def given_for(caller: Caller, call: TriggerCall, *, now: datetime) -> Given:
    """Gather and decide what the run of a call is made from; raise as `trigger_run` does."""
    check_limits(call)
    entry = entry_for(caller.environment.id)
    base = base_for(caller, entry, call.region)
    code = code_for(caller, call, entry)
    parent = parent_of(caller, call.parent_run_id) if call.parent_run_id else NO_PARENT
    placement = place_call(base, entry, call, code)
    place = place_for(call, code)
    return Given(caller, call, code, placement, base.revision, parent, place, now)


def check_limits(call: TriggerCall) -> None:
    """Raise `Refused` or `TooLarge` for what no run may have."""
    if len(call.tags) > MAX_TAGS:
        raise Refused(f"tags: a run has at most {MAX_TAGS} tags, the call gives {len(call.tags)}")
    if call.metadata is not None and len(call.metadata.encode()) > MAX_METADATA_BYTES:
        raise TooLarge("metadata", MAX_METADATA_BYTES)
    if call.machine is not None and call.machine not in PRESETS:
        raise Refused(f'machine: there is no preset "{call.machine}"')


def place_call(base: Base, entry: EnvironmentEntry, call: TriggerCall, code: Code) -> Placement:
    """Decide where the run of a call goes, by the version and the machine it will have."""
    # A task that the entry does not have is of a version that came, or is to come, after it.
    current = entry.version if call.task in entry.tasks else None
    version = current if code.locked is None else code.locked.version
    task_machine = DEFAULT_MACHINE if code.task is None else code.task.machine
    return place_on(base, entry, version=version, machine=call.machine or task_machine)


def place_for(call: TriggerCall, code: Code) -> Place:
    """Say where a new run waits: for a version that has its task, for its time, or in its lane."""
    return "version" if code.task is None else "delayed" if call.delay_until else "ready"


def code_for(caller: Caller, call: TriggerCall, entry: EnvironmentEntry) -> Code:
    """Find the task; one that is unknown here is looked for once more, past the cache.

    Raise `Refused` for a version that is not there, or has no such task or queue.
    """
    if call.lock_to_version is not None:
        locked = find_version(caller.environment.id, call.lock_to_version)
        if locked is None:
            raise Refused(f'lockToVersion: there is no version "{call.lock_to_version}"')
        if call.task not in locked.tasks:
            raise Refused(f'lockToVersion: {call.lock_to_version} has no task "{call.task}"')
        if call.queue is not None and call.queue not in locked.queues:
            raise Refused(f'lockToVersion: {call.lock_to_version} has no queue "{call.queue}"')
        return Code(locked.tasks[call.task], locked)
    task = entry.tasks.get(call.task)
    if task is None:
        task = refresh(caller.environment.id).tasks.get(call.task)
    return Code(task, None)


def parent_of(caller: Caller, parent_run_id: str) -> Parent:
    """Give where a child of this run hangs; raise `RunNotFound`, or `Refused` when too deep."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT depth, root_run_id FROM runs_taskrun WHERE id = %s AND environment_id = %s",
            [parent_run_id, caller.environment.id],
        )
        row = cursor.fetchone()
    if row is None:
        raise RunNotFound(parent_run_id)
    depth, root = row
    if depth >= MAX_DEPTH:
        raise Refused(f"parentRunId: runs are nested at most {MAX_DEPTH} deep")
    return Parent(depth + 1, parent_run_id, root or parent_run_id)


_STATES: dict[Place, tuple[str, str]] = {
    "ready": (RunStatus.PENDING.value, ExecutionStatus.QUEUED.value),
    "delayed": (RunStatus.DELAYED.value, ExecutionStatus.DELAYED.value),
    "version": (RunStatus.PENDING_VERSION.value, ExecutionStatus.RUN_CREATED.value),
}


def columns_of(given: Given) -> dict[str, Any]:
    """Give every column of the run; the names are those of the statement."""
    return {
        **_identity(given),
        **_line(given),
        **_packet(given.call),
        **key_columns(given.call, given.now),
    }


def _identity(given: Given) -> dict[str, Any]:
    """Say which run it is, whose, and where it goes."""
    caller, placement, locked, now = given.caller, given.placement, given.code.locked, given.now
    now_us = (now - EPOCH) // MICROSECOND
    status, execution_status = _STATES[given.place]
    return {
        "id": new_id("run", now_us=now_us),
        "snapshot_id": new_id("snapshot", now_us=now_us),
        "environment_id": caller.environment.id,
        "project_id": caller.project.id,
        "organization_id": caller.organization.id,
        "environment_type": caller.environment.type,
        "plan": caller.organization.plan,
        "task_slug": given.call.task,
        "status": status,
        "execution_status": execution_status,
        "worker_queue": placement.worker_queue,
        "region": placement.region,
        "requested_region": given.call.region,
        "enrollment": placement.enrollment.value,
        "why": placement.why.value,
        "decided_revision": given.revision,
        "locked_version": given.call.lock_to_version,
        "worker_id": locked.worker_id if locked else None,
        "version": locked.version if locked else None,
        "depth": given.parent.depth,
        "parent_run_id": given.parent.parent_run_id,
        "root_run_id": given.parent.root_run_id,
        "created_at": now,
        "updated_at": now,
    }


def _line(given: Given) -> dict[str, Any]:
    """Say which lane it waits in, since when, and for how long."""
    call, task, environment = given.call, given.code.task, given.caller.environment
    queue = call.queue or (task.queue_name if task else f"task/{call.task}")
    ttl_s = _ttl_s(call, task, environment.type)
    queued_at = call.delay_until or given.now
    return {
        "queue_name": queue,
        "concurrency_key": call.concurrency_key,
        "lane_id": lane_id_of(
            given.placement.worker_queue, environment.id, queue, call.concurrency_key
        ),
        "score": int(queued_at.timestamp() * 1000) - call.priority_ms,
        "priority_ms": call.priority_ms,
        "delay_until": call.delay_until,
        "ttl": None if ttl_s is None else text_of(ttl_s),
        "ttl_s": ttl_s,
        "first_queued_at": given.now if given.place == "ready" else None,
        "ttl_ends_at": _ttl_ends_at(given, ttl_s),
    }


def _packet(call: TriggerCall) -> dict[str, Any]:
    """Say what it is given and what it may use."""
    return {
        "payload": call.payload,
        "payload_type": call.payload_type,
        "metadata": call.metadata,
        "metadata_type": call.metadata_type,
        "seed_metadata": call.metadata,
        "tags": list(call.tags),
        "machine": call.machine,
        "max_attempts": call.max_attempts,
        "max_duration_s": call.max_duration_s,
        "is_test": call.is_test,
        "trigger_function": call.trigger_function,
        "trigger_source": call.trigger_source,
        "replay_of_id": call.replay_of_id,
    }


def key_columns(call: TriggerCall, now: datetime) -> dict[str, Any]:
    """Say which keys it holds, and until when."""
    key = call.idempotency_key
    return {
        "request_key": call.request_key,
        "idempotency_key": key,
        "idempotency_key_shown": call.idempotency_key_shown,
        "idempotency_key_expires_at": key_end(key, call.idempotency_key_ttl_s, now),
    }


def key_end(key: str | None, ttl_s: int, now: datetime) -> datetime | None:
    """Give until when a run holds its key, None without one."""
    return now + timedelta(seconds=ttl_s) if key else None


def _ttl_s(
    call: TriggerCall, task: TaskSettings | TaskInfo | None, environment_type: str
) -> int | None:
    """Give the seconds a run may wait. What a task says that no version has yet comes with it."""
    if call.ttl_s is not None or task is None:
        return call.ttl_s
    return default_ttl_s(task, environment_type)


def _ttl_ends_at(given: Given, ttl_s: int | None) -> datetime | None:
    """Give when the run has waited for too long; a run that is not ready does not wait yet."""
    if ttl_s is None or given.place != "ready":
        return None
    return given.now + timedelta(seconds=ttl_s)


def default_ttl_s(task: TaskSettings | TaskInfo, environment_type: str) -> int | None:
    """Give the seconds a run may wait when its call says none: the task's, ten minutes in dev."""
    if task.ttl_s is not None:
        return task.ttl_s
    return DEVELOPMENT_TTL_S if environment_type == "DEVELOPMENT" else None


def _write(given: Given, row: dict[str, Any]) -> Triggered:
    caller, call, place, now = given.caller, given.call, given.place, given.now
    for _ in range(_TRIES):
        if write_run(place, row):
            TRIGGERED.labels(row["enrollment"], row["why"]).inc()
            if place != "ready":
                return Triggered(row["id"], is_cached=False)
            announce_ready(row["worker_queue"])
            return Triggered(row["id"], is_cached=False, worker_queue=row["worker_queue"])
        held = _holder(caller, call, now)
        if held is not None:
            return held
        # The request's run was never written: only its key stands in the way.
        row = {**row, "request_key": None}
    raise Refused("idempotencyKey: the key changed hands too often, please try again")


def _holder(caller: Caller, call: TriggerCall, now: datetime) -> Triggered | None:
    """Give the run that holds the request's key, else the one that holds the idempotency key."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT k.run_id, false, 0 AS rank FROM runs_requestkey k
            JOIN runs_taskrun r ON r.id = k.run_id
            WHERE k.environment_id = %(env)s AND k.task_slug = %(task)s AND k.key = %(request)s
            UNION ALL
            SELECT run_id, true, 1 FROM runs_idempotencykey
            WHERE environment_id = %(env)s AND task_slug = %(task)s AND key = %(key)s
              AND expires_at > %(now)s
            ORDER BY rank LIMIT 1
            """,
            {
                "env": caller.environment.id,
                "task": call.task,
                "request": call.request_key,
                "key": call.idempotency_key,
                "now": now,
            },
        )
        row = cursor.fetchone()
    return None if row is None else Triggered(row[0], is_cached=row[1])
