"""The start answer of the platform, read into what the task is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crossfade.context import (
    AttemptInfo,
    Context,
    EnvironmentInfo,
    MachineInfo,
    OrganizationInfo,
    ProjectInfo,
    QueueInfo,
    RunInfo,
    TaskInfo,
)
from crossfade.errors import CrossfadeError
from crossfade.metadata import Metadata

_EPOCH = datetime.fromtimestamp(0, UTC)


class UnreadableExecution(CrossfadeError):
    """The start answer lacks what an attempt needs."""


class UnreadablePayload(CrossfadeError):
    """The payload is not what its type says."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A started attempt. `snapshot_id` is the snapshot the start made."""

    snapshot_id: str
    attempt_number: int
    payload: Any  # still as on the wire: see `read_payload`
    payload_type: str
    ctx: Context
    env_vars: dict[str, str]


def read_execution(answer: dict[str, Any]) -> Execution:
    """Read the answer of attempts/start. **Raises** UnreadableExecution naming what is missing."""
    execution = _part(answer, "execution")
    run, attempt = _part(execution, "run"), _part(execution, "attempt")
    snapshot = _part(answer, "snapshot")
    number = attempt.get("number")
    if not isinstance(number, int):
        raise UnreadableExecution("the start answer has no execution.attempt.number")
    return Execution(
        snapshot_id=str(snapshot.get("friendlyId") or snapshot["id"]),
        attempt_number=number,
        payload=None if run.get("hasPayload") is False else run.get("payload"),
        payload_type=str(run.get("payloadType") or "application/json"),
        ctx=_context(execution, run, attempt, number),
        env_vars={str(k): str(v) for k, v in (answer.get("envVars") or {}).items()},
    )


def read_payload(payload: Any, payload_type: str) -> Any:
    """Give the value of a payload packet.

    **Rule** text of `application/json` is parsed; of `application/super+json` the `json` member is
    the value; `text/plain` is the text itself; no payload is None.
    **Raises** UnreadablePayload.
    """
    if payload is None or payload_type == "text/plain":
        return payload
    if payload == "":
        return None  # no JSON text is empty: nothing was given
    if payload_type not in {"application/json", "application/super+json"}:
        raise UnreadablePayload(f"payloads of type {payload_type} cannot be read here")
    try:
        value = json.loads(payload) if isinstance(payload, str) else payload
    except ValueError as error:
        raise UnreadablePayload(f"the payload is no JSON: {error}") from error
    if payload_type == "application/super+json":
        return value.get("json") if isinstance(value, dict) else value
    return value


def _context(
    execution: dict[str, Any], run: dict[str, Any], attempt: dict[str, Any], number: int
) -> Context:
    task, queue = _part(execution, "task"), execution.get("queue") or {}
    machine = execution.get("machine")
    region = run.get("region") or execution.get("region")
    return Context(
        run=_run_info(run),
        attempt=AttemptInfo(number=number, started_at=_moment(attempt.get("startedAt"))),
        task=TaskInfo(
            id=_text(task, "id"),
            file_path=_text(task, "filePath"),
            export_name=_text(task, "exportName"),
        ),
        queue=QueueInfo(name=str(queue.get("name") or ""), id=queue.get("id")),
        environment=_environment_info(execution.get("environment") or {}),
        organization=OrganizationInfo(**_named(execution, "organization", "id", "slug", "name")),
        project=ProjectInfo(**_named(execution, "project", "id", "ref", "slug", "name")),
        region=str(region) if region else None,
        machine=_machine_info(machine) if isinstance(machine, dict) else None,
        metadata=Metadata(_metadata(run.get("metadata"))),
    )


def _run_info(run: dict[str, Any]) -> RunInfo:
    return RunInfo(
        id=_text(run, "id"),
        created_at=_moment(run.get("createdAt")),
        tags=tuple(str(tag) for tag in run.get("tags") or ()),
        is_test=run.get("isTest") is True,
        is_replay=run.get("isReplay") is True,
        version=run.get("version"),
        max_attempts=run.get("maxAttempts"),
        max_duration_s=run.get("maxDuration"),
        idempotency_key=run.get("idempotencyKey"),
        parent_id=run.get("parentTaskRunId"),
    )


def _environment_info(environment: dict[str, Any]) -> EnvironmentInfo:
    return EnvironmentInfo(
        id=str(environment.get("id") or ""),
        type=environment.get("type") or "PRODUCTION",
        slug=str(environment.get("slug") or ""),
    )


def _machine_info(machine: dict[str, Any]) -> MachineInfo:
    return MachineInfo(
        name=str(machine.get("name") or ""),
        cpu=float(machine.get("cpu") or 0),
        memory_gb=float(machine.get("memory") or 0),
    )


def _metadata(value: Any) -> dict[str, Any]:
    parsed = json.loads(value) if isinstance(value, str) and value else value
    return parsed if isinstance(parsed, dict) else {}


def _named(execution: dict[str, Any], part: str, *names: str) -> dict[str, Any]:
    found = execution.get(part) or {}
    return {"id": "", **{name: found[name] for name in names if found.get(name) is not None}}


def _part(parent: dict[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name)
    if not isinstance(found, dict):
        raise UnreadableExecution(f"the start answer has no {name}")
    return found


def _text(parent: dict[str, Any], name: str) -> str:
    found = parent.get(name)
    if not isinstance(found, str) or not found:
        raise UnreadableExecution(f"the start answer has no {name}")
    return found


def _moment(value: Any) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else _EPOCH
