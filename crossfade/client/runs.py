"""Runs as the API tells them, and the body of a trigger."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from crossfade.durations import seconds_for_duration
from crossfade.errors import InvalidOption
from crossfade.strict_json import check_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HASH_LENGTH = 64
_FINAL = frozenset(
    {"COMPLETED", "FAILED", "CANCELED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"}
)


class TriggerOptions(TypedDict, total=False):
    """What a trigger may say beside the payload; each has the meaning of the REST API."""

    idempotency_key: str
    idempotency_key_ttl: str
    delay: str | datetime | timedelta
    ttl: str | int
    tags: Sequence[str]
    queue: str
    concurrency_key: str
    machine: str
    max_attempts: int
    max_duration: int
    metadata: Mapping[str, Any]
    priority: float
    region: str
    version: str
    test: bool
    parent_run_id: str


@dataclass(frozen=True, slots=True)
class TriggeredRun:
    """A run that now exists. `is_cached`: the idempotency key named an older one."""

    id: str
    is_cached: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was when it was read; `wire` is the whole answer."""

    id: str
    task_id: str
    status: str
    wire: dict[str, Any]

    @property
    def is_completed(self) -> bool:
        """Say whether nothing more will happen to it."""
        return self.wire.get("isCompleted") is True or self.status in _FINAL

    @property
    def is_success(self) -> bool:
        """Say whether its task returned."""
        return self.status == "COMPLETED"

    @property
    def output(self) -> Any:
        """Give what its task returned, or None."""
        return self.wire.get("output")

    @property
    def error(self) -> dict[str, Any] | None:
        """Give `{"message", "name"?, "stackTrace"?}` of a failed run."""
        found = self.wire.get("error")
        return found if isinstance(found, dict) else None

    @property
    def region(self) -> str | None:
        """Give the region it was placed in."""
        return self.wire.get("region")

    @property
    def version(self) -> str | None:
        """Give the version of the code it is locked to."""
        return self.wire.get("version")

    @property
    def tags(self) -> tuple[str, ...]:
        """Give its tags."""
        return tuple(self.wire.get("tags") or ())


def read_run(wire: dict[str, Any]) -> Run:
    """Give the run of an answer."""
    return Run(
        id=str(wire["id"]),
        task_id=str(wire.get("taskIdentifier", "")),
        status=str(wire.get("status", "")),
        wire=wire,
    )


def trigger_body(payload: Any, options: TriggerOptions) -> dict[str, Any]:
    """Give the body of a trigger.

    **Raises** NotJson for a payload or metadata that is not, InvalidOption for a delay that is no
    time.
    """
    body: dict[str, Any] = {}
    if payload is not None:
        check_json(payload, name="payload")
        body["payload"] = payload
    return body | {"options": {"payloadType": "application/json", **_wire_options(options)}}


def hashed_idempotency_key(key: str) -> str:
    """Give the key as the wire carries it: SHA-256 hex; 64 characters are taken as hashed."""
    return key if len(key) == _HASH_LENGTH else hashlib.sha256(key.encode()).hexdigest()


def _wire_options(options: TriggerOptions) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name not in _WIRE_NAMES:
            raise TypeError(f"{name} is no option of a trigger; known: {', '.join(_WIRE_NAMES)}")
        wire[_WIRE_NAMES[name]] = value
    if "queue" in wire:
        wire["queue"] = {"name": wire["queue"]}
    if "delay" in wire:
        wire["delay"] = _wire_delay(wire["delay"])
    if "tags" in wire:
        wire["tags"] = [wire["tags"]] if isinstance(wire["tags"], str) else list(wire["tags"])
    if "metadata" in wire:
        check_json(wire["metadata"], name="metadata")
    if "idempotencyKey" in wire:
        key = str(wire["idempotencyKey"])
        wire["idempotencyKey"] = hashed_idempotency_key(key)
        wire["idempotencyKeyOptions"] = {"key": key, "scope": "global"}
    return wire


_WIRE_NAMES = {
    "idempotency_key": "idempotencyKey",
    "idempotency_key_ttl": "idempotencyKeyTTL",
    "delay": "delay",
    "ttl": "ttl",
    "tags": "tags",
    "queue": "queue",
    "concurrency_key": "concurrencyKey",
    "machine": "machine",
    "max_attempts": "maxAttempts",
    "max_duration": "maxDuration",
    "metadata": "metadata",
    "priority": "priority",
    "region": "region",
    "version": "lockToVersion",
    "test": "test",
    "parent_run_id": "parentRunId",
}


def _wire_delay(delay: str | datetime | timedelta) -> str:
    if isinstance(delay, timedelta):
        return f"{max(0, round(delay.total_seconds()))}s"
    if isinstance(delay, datetime):
        if delay.tzinfo is None:
            raise TypeError("delay is a datetime without a time zone")
        return delay.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if seconds_for_duration(delay) is None and not _is_date(delay):
        # The platform takes what it cannot read for "now", which is never what was meant.
        raise InvalidOption(f"delay: {delay!r} is neither a duration such as 10m nor an ISO date")
    return delay


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
