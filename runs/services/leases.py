"""Hand runs to supervisors, and take back those for which no workload could be started."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from deployments.version_info import VersionInfo, get_version
from runs.contracts import (
    BackgroundWorkerRef,
    DeploymentRef,
    DequeuedEnvironment,
    DequeuedMessage,
    DequeuedOrganization,
    DequeuedProject,
    DequeuedRun,
    DispatchFailed,
    EnvironmentType,
    MachinePreset,
    PlacementTag,
    SnapshotRef,
)
from runs.machines import PRESETS, machines_within
from runs.moves import Mover, RunRow, lock_environment, read_run, read_run_at
from runs.queue import DequeueCall, lease_next, list_leased
from runs.retry import MAX_DELIVERIES, dispatch_delay_ms
from runs.services.attempts import Scope, check_scope
from runs.services.ending import end_run, requeue_run
from runs.services.refusals import keeping_refusals
from runs.states import Event, ExecutionStatus, IllegalMove, RunStatus

MAX_PER_REQUEST = 10

_MESSAGE = """
SELECT r.id, r.snapshot_id, s.execution_status, s.description, s.created_at, r.worker_id,
  r.is_test, r.replay_of_id, r.machine, r.attempt_number, r.dispatch_number, r.worker_queue,
  r.environment_id, r.environment_type, r.organization_id, r.project_id, r.plan
FROM runs_taskrun r JOIN runs_runsnapshot s ON s.run_id = r.id AND s.id = r.snapshot_id
WHERE r.id = %s
"""


class Holder(NamedTuple):
    """Who takes runs: a supervisor of a worker group, or the developer of an environment."""

    worker_queue: str
    worker_group_id: str | None  # None in development
    instance: str
    request_key: str | None = None  # the same on every repeat of one request


class Room(NamedTuple):
    """What a supervisor can still take."""

    cpu: float  # cores
    memory: float  # GB


def lease_runs(holder: Holder, *, count: int, room: Room | None) -> list[DequeuedMessage]:
    """Lease up to `count` runs that fit; a repeat of a request gets the same runs again."""
    if holder.request_key is not None:
        again = list_leased(holder.request_key, holder.worker_group_id, holder.worker_queue)
        if again:
            return [message_for(run_id) for run_id in again]
    machines = None if room is None else machines_within(cpu=room.cpu, memory=room.memory)
    if machines == []:
        return []
    call = DequeueCall(
        worker_queue=holder.worker_queue,
        worker_group_id=holder.worker_group_id,
        worker_instance=holder.instance,
        request_key=holder.request_key,
        machines=machines,
        lease_ms=settings.ENV.timeout_pending_executing_ms,
    )
    taken: list[DequeuedMessage] = []
    while len(taken) < min(count, MAX_PER_REQUEST):
        run_id = lease_next(call)
        if run_id is None:
            break
        taken.append(message_for(run_id))
    return taken


def message_for(run_id: str) -> DequeuedMessage:
    """Give the message of a leased run."""
    with connection.cursor() as cursor:
        cursor.execute(_MESSAGE, [run_id])
        names = [column.name for column in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
    return _message(row, get_version(row["worker_id"]))


def _message(row: dict[str, Any], version: VersionInfo) -> DequeuedMessage:
    machine = PRESETS[row["machine"]]
    return DequeuedMessage(
        snapshot=SnapshotRef(
            id=row["snapshot_id"].removeprefix("snapshot_"),
            friendlyId=row["snapshot_id"],
            executionStatus=row["execution_status"],
            description=row["description"],
            createdAt=row["created_at"],
        ),
        dequeuedAt=datetime.now(UTC),
        image=version.image,
        backgroundWorker=BackgroundWorkerRef(
            id=version.worker_id.removeprefix("worker_"),
            friendlyId=version.worker_id,
            version=version.version,
            runtime=version.runtime,
        ),
        deployment=_deployment_ref(version),
        run=DequeuedRun(
            id=row["id"].removeprefix("run_"),
            friendlyId=row["id"],
            isTest=row["is_test"],
            isReplay=row["replay_of_id"] is not None,
            machine=MachinePreset(name=machine.name, cpu=machine.cpu, memory=machine.memory),
            attemptNumber=row["attempt_number"] + 1,
            masterQueue=row["worker_queue"],
        ),
        environment=DequeuedEnvironment(id=row["environment_id"], type=_type(row)),
        organization=DequeuedOrganization(id=row["organization_id"]),
        project=DequeuedProject(id=row["project_id"]),
        placementTags=[
            PlacementTag(key="paid", values=["false" if row["plan"] in {None, "free"} else "true"])
        ],
        dispatch=row["dispatch_number"],
    )


def _deployment_ref(version: VersionInfo) -> DeploymentRef:
    if version.deployment_id is None:
        return DeploymentRef()
    identifier = version.deployment_id
    return DeploymentRef(id=identifier.removeprefix("deployment_"), friendlyId=identifier)


def _type(row: dict[str, Any]) -> EnvironmentType:
    kind: EnvironmentType = row["environment_type"]
    return kind


def fail_dispatch(
    *, run_id: str, snapshot_id: str, failure: DispatchFailed, scope: Scope, mover: Mover
) -> None:
    """Take a leased run back: end it when no repeat can help, else queue it again, later.

    Raises `RunNotFound`, `StaleSnapshot`, or `IllegalMove` when it is no longer only leased.
    """
    refused = keeping_refusals(Event.REQUEUE, run_id=run_id, snapshot_id=snapshot_id, mover=mover)
    with refused, transaction.atomic():
        seen = read_run(run_id)
        check_scope(seen, scope)
        lock_environment(seen.environment_id)
        _fail_dispatch(read_run_at(run_id, snapshot_id), failure, mover)


def _fail_dispatch(run: RunRow, failure: DispatchFailed, mover: Mover) -> None:
    if run.execution_status is not ExecutionStatus.PENDING_EXECUTING:
        raise IllegalMove(run.execution_status, Event.REQUEUE)
    if failure.permanent:
        fail_run(run, code="TASK_RUN_DISPATCH_FAILED", message=failure.message, mover=mover)
        return
    counted = failure.reason != "no_capacity"
    redeliver_run(
        run,
        description=f"No workload could be started ({failure.reason}): {failure.message}",
        delay_ms=dispatch_delay_ms(run.deliveries),
        counted=counted,
        mover=mover,
    )


def redeliver_run(
    run: RunRow, *, description: str, delay_ms: int, counted: bool, mover: Mover
) -> None:
    """Queue a leased run again; the twelfth loss in a row ends it. The caller holds the mutex."""
    deliveries = run.deliveries + (1 if counted else 0)
    if deliveries >= MAX_DELIVERIES:
        message = f"Handed out {deliveries} times and never started. The last time: {description}"
        fail_run(run, code="TASK_RUN_DEQUEUED_MAX_RETRIES", message=message, mover=mover)
        return
    requeue_run(
        run,
        Event.REQUEUE,
        description=description,
        delay_ms=delay_ms,
        mover=mover,
        columns={"deliveries": deliveries},
    )


def fail_run(run: RunRow, *, code: str, message: str, mover: Mover) -> None:
    """End a run the platform could not execute. The caller holds the mutex."""
    error = {"type": "INTERNAL_ERROR", "code": code, "message": message}
    end_run(
        run,
        Event.FAIL,
        outcome=RunStatus.SYSTEM_FAILURE,
        description=message,
        mover=mover,
        columns={"error": Jsonb(error)},
    )
