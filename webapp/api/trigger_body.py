"""The body of a trigger, as the public protocol has it, and how it becomes a `TriggerCall`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Literal

from annotated_types import MaxLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from runs.batches import Own
from runs.calls import (
    DEFAULT_KEY_TTL_S,
    MAX_INT32,
    MAX_QUEUE_NAME,
    MAX_TAG_LENGTH,
    MIN_MAX_DURATION_S,
    TriggerCall,
)
from runs.durations import MAX_S, key_ttl_s, moment_of, seconds_of
from runs.machines import PRESETS
from runs.storable import json_value
from tenants.errors import Invalid, Problem, Refused

MAX_KEY = 2048
MAX_INDEXED_BYTES = 1024  # an index entry of PostgreSQL has room for some 2,700
MAX_CONCURRENCY_KEY = 512
MAX_TASK_ID = 128
JSON_TYPE = "application/json"
SUPER_JSON_TYPE = "application/super+json"
TEXT_TYPE = "text/plain"
PAYLOAD_TYPES = (JSON_TYPE, SUPER_JSON_TYPE, TEXT_TYPE)
SOURCES = frozenset({"sdk", "cli", "mcp"})
_NOT_IN_QUEUE_NAMES = re.compile(r"[^A-Za-z0-9_\-/]")


def _seconds(value: object) -> object:
    """Take whole seconds or a duration; leave anything else for the type to refuse."""
    if isinstance(value, str):
        seconds = seconds_of(value)
        if seconds is None:
            raise ValueError(f'"{value}" is no duration such as 10m')
        return seconds
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("should be a duration such as 10m, or whole seconds")  # noqa: TRY004  pydantic
    return value


def one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _machine(value: object) -> object:
    if not isinstance(value, str) or value not in PRESETS:
        raise ValueError(f"should be one of {', '.join(PRESETS)}")
    return value


def _text(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _no_nul(value: object) -> object:
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("should not contain the character NUL")
    return value


Text = Annotated[str, BeforeValidator(_no_nul)]
Tag = Annotated[Text, MaxLen(MAX_TAG_LENGTH)]
ConcurrencyKey = Annotated[Text, MaxLen(MAX_CONCURRENCY_KEY)]
Seconds = Annotated[int, Field(ge=0, le=MAX_S), BeforeValidator(_seconds)]
Tags = Annotated[list[Tag], BeforeValidator(one_or_many)]


class Options(BaseModel):
    """Base of what the protocol may extend: unknown keys are left alone, types are strict."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class QueueOption(Options):
    """The queue to use instead of the task's own."""

    name: Text


class KeyOptions(Options):
    """What the caller typed before the client hashed it."""

    key: Text | list[Text] | None = None
    scope: Literal["run", "attempt", "global"] | None = None


class TriggerOptions(Options):
    """What a trigger may say beside the payload."""

    queue: QueueOption | None = None
    concurrencyKey: Annotated[ConcurrencyKey | None, BeforeValidator(_text)] = None  # noqa: N815
    delay: Text | None = None
    ttl: Seconds | None = None
    idempotencyKey: Annotated[Text, MaxLen(MAX_KEY)] | None = None  # noqa: N815
    idempotencyKeyTTL: Text | None = None  # noqa: N815
    idempotencyKeyOptions: KeyOptions | None = None  # noqa: N815
    machine: Annotated[str, BeforeValidator(_machine)] | None = None
    maxAttempts: Annotated[int, Field(ge=1, le=MAX_INT32)] | None = None  # noqa: N815
    maxDuration: Annotated[float, Field(ge=0, le=MAX_INT32)] | None = None  # noqa: N815
    metadata: Any = None
    metadataType: Text | None = None  # noqa: N815
    payloadType: Text | None = None  # noqa: N815
    tags: Tags | None = None
    priority: Annotated[float, Field(allow_inf_nan=False)] | None = None
    region: Annotated[Text, MaxLen(200)] | None = None
    lockToVersion: Text | None = None  # noqa: N815
    externalDeploymentId: Text | None = None  # noqa: N815
    debounce: dict[str, Any] | None = None
    test: bool | None = None
    parentRunId: Text | None = None  # noqa: N815


class TriggerBody(Options):
    """`{"payload": any, "options": {...}}`; both may be missing."""

    payload: Any = None
    options: TriggerOptions | None = None


NO_OPTIONS = TriggerOptions()


class Headers:
    """The headers of a request, read from its environ: Django's own mapping copies all of them."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str, default: str = "") -> str:
        """Give a header's text, `default` when there is none."""
        return self._environ.get(_environ_name(name), default)


@cache
def _environ_name(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def read_trigger(raw: bytes, *, task: str, headers: Headers, now: datetime) -> TriggerCall:
    """Give the call a body describes, or raise `Invalid` or `Refused` naming the field."""
    return call_of(
        _parse(raw),
        task=task,
        now=now,
        key=headers.get("idempotency-key"),
        key_ttl=headers.get("idempotency-key-ttl"),
        request_key=_request_key(headers),
        source=source_of(headers),
    )


def call_of(
    body: TriggerBody,
    *,
    task: str,
    now: datetime,
    source: str,
    key: str = "",
    key_ttl: str = "",
    request_key: str | None = None,
    function: str = "trigger",
) -> TriggerCall:
    """Give the call of a parsed body; `key` and `key_ttl` (of headers) win over the body's.

    Raise `Invalid` or `Refused` naming the field.
    """
    options = body.options if body.options is not None else NO_OPTIONS
    _refuse_unbuilt(options)
    payload_type = options.payloadType or JSON_TYPE
    key = key or options.idempotencyKey or ""
    if len(key) > MAX_KEY:
        raise _invalid("idempotency-key", f"should be at most {MAX_KEY} characters")
    if not task or len(task) > MAX_TASK_ID or "\x00" in task:
        raise _invalid("taskId", f"should be 1 to {MAX_TASK_ID} characters")
    return TriggerCall(
        task=task,
        payload=_payload_text(body, payload_type),
        payload_type=payload_type,
        metadata=_metadata_text(options.metadata),
        metadata_type=options.metadataType or JSON_TYPE,
        tags=tuple(dict.fromkeys(tag for tag in options.tags or () if tag.strip())),
        queue=None if options.queue is None else queue_name(options.queue.name),
        concurrency_key=options.concurrencyKey or "",
        delay_until=_delay(options.delay, now),
        ttl_s=options.ttl,
        priority_ms=_priority_ms(options.priority),
        machine=options.machine,
        max_attempts=options.maxAttempts,
        max_duration_s=_max_duration_s(options.maxDuration),
        region=options.region or None,
        lock_to_version=options.lockToVersion,
        is_test=bool(options.test),
        idempotency_key=indexed_key(key),
        idempotency_key_shown=shown_key(options.idempotencyKeyOptions) or key or None,
        idempotency_key_ttl_s=key_ttl_s(
            key_ttl or options.idempotencyKeyTTL, default_s=DEFAULT_KEY_TTL_S
        ),
        request_key=request_key,
        parent_run_id=options.parentRunId,
        trigger_function=function,
        trigger_source=source,
    )


def own_of(body: TriggerBody, payload_type: str) -> Own:
    """Give what `call_of` makes of a body's payload and key, or raise `Invalid`."""
    options = body.options if body.options is not None else NO_OPTIONS
    key = options.idempotencyKey or None
    return Own(
        _payload_text(body, payload_type),
        indexed_key(key),
        shown_key(options.idempotencyKeyOptions) or key,
        key_ttl_s(options.idempotencyKeyTTL, default_s=DEFAULT_KEY_TTL_S),
    )


def _parse(raw: bytes) -> TriggerBody:
    if not raw.strip():
        raise Invalid("Request body is empty")
    try:
        return TriggerBody.model_validate_json(raw)
    except ValidationError as error:
        problems = body_problems(error)
        if problems is None:
            raise Invalid("Invalid JSON") from None
        raise Invalid(f"{problems[0].key}: {problems[0].message}", problems) from None


def body_problems(error: ValidationError) -> tuple[Problem, ...] | None:
    """Name every field that is wrong; None when the text is no JSON at all."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return None
    return tuple(
        Problem(
            ".".join(str(part) for part in one["loc"]) or "body",
            one["msg"].removeprefix("Value error, "),
        )
        for one in found
    )


def _invalid(key: str, message: str) -> Invalid:
    return Invalid(f"{key}: {message}", (Problem(key, message),))


def _refuse_unbuilt(options: TriggerOptions) -> None:
    """Say so where an option would be silently ignored."""
    if options.debounce is not None:
        raise Refused("debounce: this server does not debounce triggers")
    if (options.externalDeploymentId or "").strip():
        raise Refused("externalDeploymentId: this server does not pin to external deployments")


def queue_name(name: str) -> str | None:
    """Give the name as queues may have it: cut to its legal characters and length."""
    return _NOT_IN_QUEUE_NAMES.sub("", name)[:MAX_QUEUE_NAME] or None


def _payload_text(body: TriggerBody, payload_type: str) -> str | None:
    """Give the packet's text: JSON for JSON, the string itself for the other types."""
    if payload_type not in PAYLOAD_TYPES:
        raise _invalid("options.payloadType", f"should be one of {', '.join(PAYLOAD_TYPES)}")
    if "payload" not in body.model_fields_set:
        return None
    if payload_type == JSON_TYPE:
        return _json_text("payload", body.payload)
    if not isinstance(body.payload, str):
        raise _invalid("payload", f"should be a string, as {payload_type} says")
    if "\x00" in body.payload:
        raise _invalid("payload", "should not contain the character NUL")
    return body.payload


def _json_text(key: str, value: object) -> str:
    """Write JSON with every character as PostgreSQL's text can hold it."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except ValueError:
        raise _invalid(key, "should be JSON, which has no NaN and no Infinity") from None


def _metadata_text(metadata: object) -> str | None:
    """Give metadata as the text of a JSON object; clients may send it serialized."""
    if metadata is None:
        return None
    value = metadata
    if isinstance(metadata, str):
        try:
            value = json_value(metadata)
        except ValueError:
            raise _invalid("options.metadata", "should be a JSON object") from None
    if not isinstance(value, dict):
        raise _invalid("options.metadata", "should be a JSON object")
    return _json_text("options.metadata", value)


def _delay(delay: str | None, now: datetime) -> datetime | None:
    """Give the moment a delay names; one that is past, or that cannot be read, is no delay."""
    moment = None if delay is None else moment_of(delay, now=now)
    return moment if moment is not None and moment > now else None


def _priority_ms(priority_s: float | None) -> int:
    return int(min(max((priority_s or 0) * 1000, -MAX_INT32), MAX_INT32))


def _max_duration_s(seconds: float | None) -> int | None:
    return None if seconds is None else max(MIN_MAX_DURATION_S, int(seconds))


def shown_key(given: KeyOptions | None) -> str | None:
    """Give what the caller typed before the client hashed it, None when it does not say."""
    if given is None or given.key is None:
        return None
    return given.key if isinstance(given.key, str) else "-".join(given.key)


def _request_key(headers: Headers) -> str | None:
    return indexed_key(headers.get("x-trigger-request-idempotency-key"))


def indexed_key(key: str | None) -> str | None:
    """Give a key as an index can hold it: one of more bytes than that is known by its digest."""
    if not key:
        return None
    data = key.encode()
    if len(data) > MAX_INDEXED_BYTES:
        return f"sha256:{sha256(data).hexdigest()}"
    return key


def source_of(headers: Headers) -> str:
    """Give who sent a request, by its own word; anything unknown counts as `api`."""
    source = headers.get("x-trigger-source", "")
    return source if source in SOURCES else "api"
