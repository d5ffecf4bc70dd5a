"""What a runner is given when an attempt starts: the run, its task and everything around it.

Source: the `execution` of the worker API's start answer; the supervisor relays it unread.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from deployments.version_info import TaskInfo, VersionInfo, get_version
from runs.contracts import MachinePreset, RunExecutionData, RunRef, SnapshotRef
from runs.errors import RunNotFound
from runs.machines import PRESETS
from runs.models import RunSnapshot
from runs.retry import most_attempts
from runs.selectors import get_snapshot
from tenants.selectors import find_environment_key

_QUERY = """
SELECT r.id, r.status, r.attempt_number, r.task_slug, r.payload, r.payload_type, r.metadata,
  r.tags, r.is_test, r.replay_of_id, r.created_at, r.started_at, r.priority_ms, r.region,
  r.idempotency_key_shown, r.max_attempts, r.lost_attempts, r.max_duration_s, r.version,
  r.worker_id, r.machine, r.queue_name, r.concurrency_key, r.depth, r.parent_run_id,
  r.root_run_id, r.usage_ms,
  e.id AS environment_id, e.slug AS environment_slug, e.type AS environment_type,
  o.id AS organization_id, o.slug AS organization_slug, o.title AS organization_name,
  p.id AS project_id, p.ref AS project_ref, p.slug AS project_slug, p.name AS project_name,
  q.id AS queue_id
FROM runs_taskrun r
JOIN tenants_environment e ON e.id = r.environment_id
JOIN tenants_organization o ON o.id = r.organization_id
JOIN tenants_project p ON p.id = r.project_id
LEFT JOIN deployments_taskqueue q ON q.environment_id = r.environment_id AND q.name = r.queue_name
WHERE r.id = %s
"""


class Started(NamedTuple):
    """The answer to a start."""

    run: dict[str, Any]
    snapshot: dict[str, Any]
    execution: dict[str, Any]
    env_vars: dict[str, str]


def started_attempt(run_id: str, snapshot_id: str) -> Started:
    """Give everything an attempt needs, read from the run as it stands."""
    row = _read(run_id)
    version = get_version(row["worker_id"])
    return Started(
        run=run_ref(row["id"], row["status"], row["attempt_number"]).to_wire(),
        snapshot=snapshot_ref(get_snapshot(run_id, snapshot_id)).to_wire(),
        execution=_execution(row, version, version.tasks[row["task_slug"]]),
        env_vars=_env_vars(row),
    )


def run_ref(run_id: str, status: str, attempt_number: int) -> RunRef:
    """Give a run as the worker API names it."""
    return RunRef(
        id=run_id.removeprefix("run_"),
        friendlyId=run_id,
        status=status,
        attemptNumber=attempt_number or None,
    )


def snapshot_ref(snapshot: RunSnapshot) -> SnapshotRef:
    """Give a snapshot as the worker API names it."""
    return SnapshotRef(
        id=snapshot.id.removeprefix("snapshot_"),
        friendlyId=snapshot.id,
        executionStatus=snapshot.execution_status,
        description=snapshot.description,
        createdAt=snapshot.created_at,
    )


def execution_data(snapshot: RunSnapshot) -> RunExecutionData:
    """Give a run at one of its snapshots."""
    return RunExecutionData(
        snapshot=snapshot_ref(snapshot),
        run=run_ref(snapshot.run_id, snapshot.run_status, snapshot.attempt_number or 0),
    )


def _read(run_id: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(_QUERY, [run_id])
        names = [column.name for column in cursor.description]
        row = cursor.fetchone()
    if row is None:
        raise RunNotFound(run_id)
    return dict(zip(names, row, strict=True))


def _execution(row: dict[str, Any], version: VersionInfo, task: TaskInfo) -> dict[str, Any]:
    machine = PRESETS[row["machine"] or task.machine]
    queue_id = row["queue_id"] or f"queue_{row['queue_name']}"
    return _without_none(
        {
            "attempt": {
                "number": row["attempt_number"],
                "startedAt": _iso(datetime.now(UTC)),
                # Older runners read these; the ids of an attempt are the run's and its number.
                "id": "deprecated",
                "backgroundWorkerId": "deprecated",
                "backgroundWorkerTaskId": "deprecated",
                "status": "deprecated",
            },
            "run": _run(row, task),
            "task": {
                "id": row["task_slug"],
                "filePath": task.file_path,
                "exportName": task.export_name,
                "retry": task.retry,
            },
            "queue": {"id": queue_id, "name": row["queue_name"].removeprefix("task/")},
            "environment": {
                "id": row["environment_id"],
                "slug": row["environment_slug"],
                "type": row["environment_type"],
            },
            "organization": {
                "id": row["organization_id"],
                "slug": row["organization_slug"],
                "name": row["organization_name"],
            },
            "project": {
                "id": row["project_id"],
                "ref": row["project_ref"],
                "slug": row["project_slug"],
                "name": row["project_name"],
            },
            "machine": MachinePreset(
                name=machine.name, cpu=machine.cpu, memory=machine.memory
            ).to_wire(),
            "deployment": _deployment(version),
        }
    )


def _run(row: dict[str, Any], task: TaskInfo) -> dict[str, Any]:
    return {
        "id": row["id"],
        "payload": row["payload"] if row["payload"] is not None else "",
        "payloadType": row["payload_type"],
        "hasPayload": row["payload"] is not None,
        "metadata": None if row["metadata"] is None else json.loads(row["metadata"]),
        "tags": sorted(row["tags"]),
        "isTest": row["is_test"],
        "isReplay": row["replay_of_id"] is not None,
        "createdAt": _iso(row["created_at"]),
        "startedAt": _iso(row["started_at"] or row["created_at"]),
        "idempotencyKey": row["idempotency_key_shown"],
        "maxAttempts": most_attempts(
            row["max_attempts"] or task.max_attempts, row["lost_attempts"]
        ),
        "maxDuration": row["max_duration_s"] or task.max_duration_s,
        "version": row["version"],
        "durationMs": row["usage_ms"],
        "costInCents": 0,
        "baseCostInCents": 0,
        "priority": row["priority_ms"] / 1000,
        "region": row["region"],
        "concurrencyKey": row["concurrency_key"] or None,
        "depth": row["depth"],
        "parentTaskRunId": row["parent_run_id"],
        "rootTaskRunId": row["root_run_id"],
        "traceContext": {},
    }


def _deployment(version: VersionInfo) -> dict[str, Any] | None:
    if version.deployment_id is None:
        return None
    return {
        "id": version.deployment_id,
        "shortCode": version.short_code,
        "version": version.version,
        "runtime": version.runtime or "python",
        "runtimeVersion": version.runtime_version or "",
    }


def _env_vars(row: dict[str, Any]) -> dict[str, str]:
    """Give what the task's process finds in its environment: how to call back, and who it is."""
    key = find_environment_key(row["environment_id"])
    given = {
        "TRIGGER_RUN_ID": row["id"],
        "TRIGGER_MACHINE_PRESET": row["machine"],
        "TRIGGER_API_URL": settings.ENV.public_url,
        "TRIGGER_SECRET_KEY": key,
    }
    return {name: value for name, value in given.items() if value is not None}


def _without_none(sections: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Leave out what is unset; what the caller gave, such as metadata, keeps its own nulls."""
    return {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in sections.items()
        if section is not None
    }


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
