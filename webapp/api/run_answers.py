"""Runs as the public API shows them. Unset keys are left out: clients read null as a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from runs.selectors import RunFamily, RunView
from runs.states import FINAL, RunStatus
from runs.storable import json_value

MODERN_API: Final = "2025-07-16"
SUPER_JSON: Final = "application/super+json"
TEXT: Final = "text/plain"

_R = RunStatus
# The names customers know, since the API version that callers of today send.
MODERN: Final[Mapping[str, str]] = {
    _R.PENDING: "QUEUED",
    _R.DELAYED: "DELAYED",
    _R.PENDING_VERSION: "PENDING_VERSION",
    _R.DEQUEUED: "DEQUEUED",
    _R.EXECUTING: "EXECUTING",
    _R.RETRYING_AFTER_FAILURE: "EXECUTING",
    _R.WAITING_TO_RESUME: "WAITING",
    _R.COMPLETED_SUCCESSFULLY: "COMPLETED",
    _R.COMPLETED_WITH_ERRORS: "FAILED",
    _R.CANCELED: "CANCELED",
    _R.CRASHED: "CRASHED",
    _R.SYSTEM_FAILURE: "SYSTEM_FAILURE",
    _R.EXPIRED: "EXPIRED",
    _R.TIMED_OUT: "TIMED_OUT",
}
# The names that callers without a version header get.
OLD: Final[Mapping[str, str]] = {
    **MODERN,
    _R.DEQUEUED: "EXECUTING",
    _R.RETRYING_AFTER_FAILURE: "REATTEMPTING",
    _R.WAITING_TO_RESUME: "FROZEN",
}
# A filter names one stored status each, so that what it finds does not depend on the version.
STORED_BY_NAME: Final[Mapping[str, str]] = {
    **{name: status for status, name in MODERN.items()},
    "EXECUTING": _R.EXECUTING,
}
QUEUED = frozenset({_R.PENDING, _R.DELAYED, _R.PENDING_VERSION})
EXECUTING = frozenset({_R.DEQUEUED, _R.EXECUTING, _R.RETRYING_AFTER_FAILURE})
"""EXPIRED and TIMED_OUT count as completed, so that polling clients come to an end."""


def run_answer(family: RunFamily, *, api_version: str | None) -> dict[str, Any]:
    """Give the whole object of a run, with payload, output and relatives."""
    run = family.run
    related: dict[str, Any] = {
        "children": [common_fields(child, api_version=api_version) for child in family.children]
    }
    if family.root is not None:
        related["root"] = common_fields(family.root, api_version=api_version)
    if family.parent is not None:
        related["parent"] = common_fields(family.parent, api_version=api_version)
    answer = common_fields(run, api_version=api_version) | {
        "relatedRuns": related,
        "attemptCount": run.attempt_number,
        "attempts": [],
    }
    if run.payload is not None:
        answer["payload"] = packet_value(run.payload, run.payload_type)
    if run.status == _R.COMPLETED_SUCCESSFULLY and run.output is not None:
        answer["output"] = packet_value(run.output, run.output_type or "application/json")
    if run.error is not None and run.status in FINAL:
        answer["error"] = error_value(run.error)
    return answer


def result_answer(run: RunView) -> dict[str, Any]:
    """Give what a run that is over returned or raised."""
    answer: dict[str, Any] = {"ok": False, "id": run.id, "taskIdentifier": run.task_slug}
    if run.status == _R.COMPLETED_SUCCESSFULLY:
        answer |= {"ok": True, "outputType": run.output_type or "application/json"}
        return answer if run.output is None else answer | {"output": run.output}
    unnamed = {"type": "INTERNAL_ERROR", "code": f"TASK_RUN_{run.status}"}
    return answer | {"error": run.error or unnamed}


def item_answer(run: RunView, *, environment_slug: str, api_version: str | None) -> dict[str, Any]:
    """Give a run as lists show it."""
    return common_fields(run, api_version=api_version) | {
        "env": {"id": run.environment_id, "name": environment_slug},
        "taskKind": "STANDARD",
    }


def common_fields(run: RunView, *, api_version: str | None) -> dict[str, Any]:
    """Give what every view of a run has."""
    names = MODERN if api_version == MODERN_API else OLD
    status = RunStatus(run.status)
    fields = {
        "id": run.id,
        "taskIdentifier": run.task_slug,
        "status": names[status],
        "createdAt": iso(run.created_at),
        "updatedAt": iso(run.updated_at),
        "isQueued": status in QUEUED,
        "isExecuting": status in EXECUTING,
        "isWaiting": status is _R.WAITING_TO_RESUME,
        "isCompleted": status in FINAL,
        "isSuccess": status is _R.COMPLETED_SUCCESSFULLY,
        "isFailed": status in FINAL and status is not _R.COMPLETED_SUCCESSFULLY,
        "isCancelled": status is _R.CANCELED,
        "isTest": run.is_test,
        "tags": sorted(run.tags),
        "costInCents": 0,
        "baseCostInCents": 0,
        "durationMs": run.usage_ms,
        "depth": run.depth,
        "triggerFunction": run.trigger_function,
        "version": run.version,
        "idempotencyKey": run.idempotency_key_shown,
        "startedAt": iso(run.started_at),
        "finishedAt": iso(run.completed_at),
        "delayedUntil": iso(run.delay_until),
        "expiredAt": iso(run.expired_at),
        "ttl": run.ttl,
        "batchId": run.batch_id,
        "region": run.region,
        "metadata": None if run.metadata is None else packet_value(run.metadata, run.metadata_type),
    }
    return {name: value for name, value in fields.items() if value is not None}


def packet_value(text: str, packet_type: str) -> Any:
    """Give what a packet shows: the JSON value, the `json` member of super JSON, or the text."""
    if packet_type == TEXT:
        return text
    try:
        value = json_value(text)
    except ValueError:
        return text  # stored as it came; showing it beats refusing the whole run
    if packet_type == SUPER_JSON and isinstance(value, dict) and "json" in value:
        return value["json"]
    return value


def error_value(error: Mapping[str, Any]) -> dict[str, Any]:
    """Give an error as customers read it: message, and name and traceback where there are any."""
    kind = error.get("type")
    if kind == "BUILT_IN_ERROR":
        shown = {
            "message": error.get("message", ""),
            "name": error.get("name"),
            "stackTrace": error.get("stackTrace"),
        }
    elif kind == "INTERNAL_ERROR":
        shown = {
            "message": error.get("message") or error.get("code", ""),
            "name": error.get("code"),
            "stackTrace": error.get("stackTrace"),
        }
    else:
        shown = {"message": error.get("raw", "")}
    return {name: value for name, value in shown.items() if value is not None}


def iso(at: datetime | None) -> str | None:
    """Write a moment as ISO 8601 in UTC with milliseconds."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
