"""What a trigger asks for, parsed and typed; the limits of the REST API. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

MAX_TAGS = 10
MAX_TAG_LENGTH = 128
MAX_METADATA_BYTES = 262_144
MAX_OUTPUT_BYTES = 10 * 1024 * 1024
MAX_QUEUE_NAME = 128
MIN_MAX_DURATION_S = 5
MAX_INT32 = 2**31 - 1
DEFAULT_KEY_TTL_S = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerCall:
    """One request to run a task. None means the call says nothing about it."""

    task: str
    payload: str | None = None  # the packet's text, as its type says
    payload_type: str = "application/json"
    metadata: str | None = None  # JSON text
    metadata_type: str = "application/json"
    tags: tuple[str, ...] = ()
    queue: str | None = None
    concurrency_key: str = ""  # "" means none
    delay_until: datetime | None = None  # only a moment ahead; None: now
    ttl_s: int | None = None
    priority_ms: int = 0
    machine: str | None = None
    max_attempts: int | None = None
    max_duration_s: int | None = None
    region: str | None = None
    lock_to_version: str | None = None
    is_test: bool = False
    idempotency_key: str | None = None
    idempotency_key_shown: str | None = None  # what the caller typed before it was hashed
    idempotency_key_ttl_s: int = DEFAULT_KEY_TTL_S
    request_key: str | None = None  # the same on every repeat of one request
    parent_run_id: str | None = None
    replay_of_id: str | None = None
    trigger_function: str = "trigger"
    trigger_source: str = "api"


@dataclass(frozen=True, slots=True)
class Triggered:
    """The run a trigger made, or found under its idempotency key."""

    run_id: str
    is_cached: bool
    worker_queue: str | None = None  # where it is ready; None when nothing became ready
