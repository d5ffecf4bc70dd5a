"""The wire models of the compute gateway: what supervisors and the platform say to it.

Plain Pydantic. Names are those of the wire; unknown fields are ignored on the way in, unset ones
are left out on the way out. Types are strict: a number is a JSON number, a text a JSON string.

Source: the gateway API of the public protocol; `docs/gateway-api.md`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)

BUILTIN_IDLE = "builtin/idle"  # an image that stays up and does nothing
UNSAFE_PREFIXES = ("LD_", "PYTHON")  # they change what a program is, not what it is told

Instant = Annotated[
    datetime,
    PlainSerializer(
        lambda at: at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        return_type=str,
        when_used="json",
    ),
]
"""An aware UTC moment; ISO 8601 with milliseconds and Z on the wire."""


def _plain_text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("the text may not contain the character NUL")
    return value


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError("it is no http or https address")
    return value


def _safe_env(value: dict[str, str]) -> dict[str, str]:
    unsafe = sorted(name for name in value if name.startswith(UNSAFE_PREFIXES))
    if unsafe:
        raise ValueError(f"env may not set {', '.join(unsafe)}")
    return value


def _encodable(value: dict[str, Any]) -> dict[str, Any]:
    json.dumps(value, allow_nan=False)  # raises ValueError for what JSON cannot say
    return value


Text = Annotated[str, AfterValidator(_plain_text)]
WebAddress = Annotated[Text, AfterValidator(_web_address)]
InstanceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
ImageName = Annotated[Text, StringConstraints(min_length=1, max_length=1024)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}$")]
Env = Annotated[dict[EnvName, Text], AfterValidator(_safe_env)]
Json = Annotated[dict[str, Any], AfterValidator(_encodable)]
Cores = Annotated[float, Field(gt=0, le=1024, allow_inf_nan=False)]
Gigabytes = Annotated[float, Field(gt=0, le=16_384, allow_inf_nan=False)]


class GatewayWire(BaseModel):
    """Base of every message."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True)

    def to_wire(self) -> dict[str, Any]:
        """Give the JSON object of this message; unset fields are left out."""
        return self.model_dump(mode="json", exclude_none=True, by_alias=True)


# -- instances ------------------------------------------------------------------------------------


class InstanceCreateRequest(GatewayWire):
    """One instance to start."""

    name: InstanceName  # unique among the gateway's instances; it is the instance's id
    image: ImageName
    env: Env = {}
    cpu: Cores
    memory_gb: Gigabytes
    metadata: Json | None = None  # for people and for whoever made it; nothing depends on it here
    labels: dict[str, Text] | None = None  # identity, for network policy


class InstanceCreateResponse(GatewayWire):
    """The instance runs."""

    id: str
    timing: Any = Field(default=None, alias="_timing")  # how long its parts took


class Instance(GatewayWire):
    """One instance as the gateway sees it."""

    id: str
    name: str
    image: str
    status: Literal["running", "exited"]
    exitCode: int | None = None  # noqa: N815  # 128 + n when signal n ended it
    exitSignal: int | None = None  # noqa: N815  # the signal that ended it
    outOfMemory: bool | None = None  # noqa: N815  # true: it reached its memory limit
    lastWords: str | None = None  # noqa: N815  # the end of its output, when it did not end well
    createdAt: Instant  # noqa: N815
    labels: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None


class InstanceList(GatewayWire):
    """Every instance: the running ones, and for a while those that have exited."""

    data: list[Instance]


# -- templates ------------------------------------------------------------------------------------


class MachineConfig(GatewayWire):
    """The size of a machine."""

    cpu: Cores
    memory_gb: Gigabytes


class TemplateCallback(GatewayWire):
    """Whom to tell when a template is done."""

    url: WebAddress
    metadata: dict[str, Text] | None = None


class TemplateCreateRequest(GatewayWire):
    """Prepare an image for machines of these sizes."""

    image: ImageName
    machine_configs: Annotated[list[MachineConfig], Field(min_length=1, max_length=64)]
    background: bool | None = None  # true: answer 202 at once
    callback: TemplateCallback | None = None


class TemplateResult(GatewayWire):
    """What became of one size."""

    machine_config: MachineConfig
    error: str | None = None


class TemplateCreateResponse(GatewayWire):
    """What became of a template."""

    results: list[TemplateResult]
    error: str | None = None


class TemplateFinished(TemplateCreateResponse):
    """The callback of a template: the same answer, with what it is about."""

    image: str
    metadata: dict[str, str] | None = None  # as the request's callback had it
    duration_ms: float | None = None


# -- snapshots ------------------------------------------------------------------------------------


class SnapshotCallback(GatewayWire):
    """Whom to tell when a snapshot is done, and what to tell it back."""

    url: Text
    metadata: dict[str, Text]


class InstanceSnapshotRequest(GatewayWire):
    """Save an instance; the answer is 202, the result comes by callback."""

    callback: SnapshotCallback


class SnapshotRestoreRequest(GatewayWire):
    """Continue a saved instance under a new name."""

    name: InstanceName
    metadata: dict[str, Text]  # what the instance's metadata service then gives
    cpu: Cores
    memory_gb: Gigabytes
    labels: dict[str, Text] | None = None  # not kept with a snapshot: sent again


class SnapshotCompleted(GatewayWire):
    """The callback of a snapshot that was taken."""

    status: Literal["completed"]
    snapshot_id: str
    instance_id: str
    metadata: dict[str, str] | None = None
    duration_ms: float | None = None


class SnapshotFailed(GatewayWire):
    """The callback of a snapshot that was not; the instance goes on."""

    status: Literal["failed"]
    instance_id: str
    error: str | None = None
    metadata: dict[str, str] | None = None
    duration_ms: float | None = None


SnapshotCallbackPayload = Annotated[
    SnapshotCompleted | SnapshotFailed, Field(discriminator="status")
]
