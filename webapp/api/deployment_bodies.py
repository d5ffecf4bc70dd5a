"""What the deployment calls accept; unknown fields are ignored.

Source: the public deployment API, as its command line tool speaks it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from deployments.lifecycle import DeploymentRequest
from deployments.manifest import (
    DEFAULT_MAX_ATTEMPTS,
    QueueManifest,
    TaskManifest,
    VersionManifest,
    clean_queue_name,
    duplicates,
)
from runs.durations import seconds_of
from runs.machines import DEFAULT_MACHINE, PRESETS
from webapp.api.shapes import Form

MIN_DURATION_S = 5
MAX_INT = 2**31 - 1
MAX_ATTEMPTS = 250
MAX_TASKS = 5_000
MAX_CONCURRENCY = 100_000
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _queue_name(text: str) -> str:
    if not clean_queue_name(text):
        raise ValueError("a queue's name has letters, digits, '_', '-' or '/'")
    return text


def _ttl_s(value: int | str) -> int:
    seconds = seconds_of(value) if isinstance(value, str) else value
    if seconds is None or not 0 < seconds <= MAX_INT:
        raise ValueError("a ttl is a duration such as '10m', or a positive number of seconds")
    return seconds


def _preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"the machine is one of {', '.join(PRESETS)}")
    return name


def _blank_is_none(text: str | None) -> str | None:
    return (text or "").strip() or None


Digest = Annotated[str, Form(r"sha256:[0-9a-f]{64}", "should be sha256: and 64 hex digits")]
Short = Annotated[str, StringConstraints(max_length=128)]
Hash = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
QueueName = Annotated[str, AfterValidator(_queue_name)]
Preset = Annotated[str, AfterValidator(_preset)]
Limit = Annotated[int, Field(ge=0, le=MAX_CONCURRENCY)]


class Storable(BaseModel):
    """A body whose texts a database can hold, however deep they stand."""

    @field_validator("*", mode="after")
    @classmethod
    def _field_can_be_stored(cls, value: Any) -> Any:
        refuse_unstorable(value)
        return value

    @model_validator(mode="after")
    def _rest_can_be_stored(self) -> Self:
        refuse_unstorable(self.model_extra)
        return self


def refuse_unstorable(value: Any) -> None:
    """Raise ValueError for JSON with a NUL character or half a surrogate pair in it."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and UNSTORABLE.search(item):
            raise ValueError("a text may not hold a NUL character or half a surrogate pair")
        if isinstance(item, dict):
            waiting.extend((*item.keys(), *item.values()))
        elif isinstance(item, list):
            waiting.extend(item)


class WireBody(Storable):
    """A request of the public protocol: strict types, unknown keys ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True, frozen=True)


class StoredBody(Storable):
    """A part of a version's metadata, which is kept as it was sent, unknown keys too."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", strict=True, frozen=True)


class InitializeBody(WireBody):
    """Begin a deployment."""

    content_hash: Hash
    type: Literal["MANAGED", "UNMANAGED", "V1"] | None = None
    runtime: Short | None = None
    runtime_version: Short | None = None
    git_meta: dict[str, Any] | None = None
    external_id: Annotated[Short | None, AfterValidator(_blank_is_none)] = None
    triggered_via: Short | None = None
    artifact_key: Digest | None = None  # the digest of its artifact
    initial_status: Literal["PENDING", "BUILDING"] | None = None
    is_native_build: bool | None = None  # a builder picks it up later
    skip_promotion: bool | None = None
    force: bool | None = None

    def to_request(self, *, request_key: str | None = None) -> DeploymentRequest:
        """Give what the service takes; `request_key` is that of the call."""
        status = self.initial_status or ("PENDING" if self.is_native_build else "BUILDING")
        return DeploymentRequest(
            content_hash=self.content_hash,
            artifact_digest=self.artifact_key,
            runtime=self.runtime,
            runtime_version=self.runtime_version,
            git=self.git_meta,
            external_id=self.external_id,
            triggered_via=self.triggered_via,
            skip_promotion=self.skip_promotion or False,
            force=self.force or False,
            starts_pending=status == "PENDING",
            request_key=request_key,
        )


class TaskQueueBody(StoredBody):
    """The queue of a task; without a name it is the task's own."""

    name: QueueName | None = None
    concurrency_limit: Limit | None = None


class QueueBody(StoredBody):
    """A queue declared beside the tasks."""

    name: QueueName
    concurrency_limit: Limit | None = None

    def to_manifest(self) -> QueueManifest:
        """Give the queue as a version declares it."""
        return QueueManifest(name=self.name, concurrency_limit=self.concurrency_limit)


class OutOfMemoryBody(StoredBody):
    """What to do about an attempt that ran out of memory; without a machine, nothing."""

    machine: Preset | None = None  # where it is tried again, when that one has more memory


class RetryBody(StoredBody):
    """How a task is tried again."""

    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None
    factor: Annotated[float, Field(gt=0)] | None = None
    min_timeout_in_ms: Annotated[float, Field(ge=0)] | None = None
    max_timeout_in_ms: Annotated[float, Field(ge=0)] | None = None
    randomize: bool | None = None
    out_of_memory: OutOfMemoryBody | None = None


class MachineBody(StoredBody):
    """The machine of a task: a preset, or what it has to hold."""

    preset: str | None = None
    cpu: Annotated[float, Field(gt=0)] | None = None  # cores
    memory: Annotated[float, Field(gt=0)] | None = None  # GB


def _known_machine(machine: MachineBody) -> MachineBody:
    _preset(machine_name(machine))
    return machine


def machine_name(machine: MachineBody | None) -> str:
    """Give the preset a task asks for: by name, else the smallest that holds it; "" for none."""
    if machine is None:
        return DEFAULT_MACHINE
    if machine.preset is not None:
        return machine.preset
    if machine.cpu is None and machine.memory is None:
        return DEFAULT_MACHINE
    cpu, memory = machine.cpu or 0, machine.memory or 0
    holding = (m.name for m in PRESETS.values() if m.cpu >= cpu and m.memory >= memory)
    return next(holding, "")


class TaskBody(StoredBody):
    """A task of a version."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    file_path: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    export_name: Annotated[str, StringConstraints(max_length=1024)] | None = None
    description: str | None = None
    queue: TaskQueueBody | None = None
    retry: RetryBody | None = None
    machine: Annotated[MachineBody, AfterValidator(_known_machine)] | None = None
    max_duration: Annotated[float, Field(ge=0, le=MAX_INT)] | None = None  # seconds
    ttl: Annotated[int | str, AfterValidator(_ttl_s)] | None = None

    def to_manifest(self) -> TaskManifest:
        """Give the task as a version defines it, with the defaults in place."""
        queue = self.queue or TaskQueueBody()
        retry = (
            None
            if self.retry is None
            else self.retry.model_dump(mode="json", by_alias=True, exclude_none=True)
        )
        attempts = None if self.retry is None else self.retry.max_attempts
        return TaskManifest(
            slug=self.id,
            file_path=self.file_path,
            export_name=self.export_name or "",
            description=self.description,
            queue_name=queue.name,
            queue_concurrency_limit=queue.concurrency_limit,
            machine=machine_name(self.machine),
            retry=retry,
            max_attempts=DEFAULT_MAX_ATTEMPTS if attempts is None else attempts,
            max_duration_s=_max_duration_s(self.max_duration),
            ttl_s=None if self.ttl is None else int(self.ttl),
        )


def _max_duration_s(seconds: float | None) -> int | None:
    return None if seconds is None else max(MIN_DURATION_S, int(seconds))


def _distinct_tasks(tasks: list[TaskBody]) -> list[TaskBody]:
    again = duplicates(task.id for task in tasks)
    if again:
        raise ValueError(f"more than one task has the id {again[0]!r}")
    return tasks


class MetadataBody(StoredBody):
    """What a version brings."""

    package_version: Short
    content_hash: Hash
    tasks: Annotated[list[TaskBody], Field(max_length=MAX_TASKS), AfterValidator(_distinct_tasks)]
    queues: Annotated[list[QueueBody], Field(max_length=MAX_TASKS)] | None = None
    runtime: Short | None = None
    runtime_version: Short | None = None


class BackgroundWorkerBody(WireBody):
    """Register the tasks and queues of a version."""

    metadata: MetadataBody
    local_only: bool | None = None
    engine: Literal["V1", "V2"] | None = None

    def to_manifest(self) -> VersionManifest:
        """Give what the service takes."""
        metadata = self.metadata
        return VersionManifest(
            content_hash=metadata.content_hash,
            package_version=metadata.package_version,
            tasks=tuple(task.to_manifest() for task in metadata.tasks),
            queues=tuple(queue.to_manifest() for queue in metadata.queues or ()),
            runtime=metadata.runtime,
            runtime_version=metadata.runtime_version,
            metadata=metadata.model_dump(mode="json", by_alias=True, exclude_unset=True),
        )


class FinalizeBody(WireBody):
    """Complete a deployment."""

    skip_promotion: bool | None = None
    image_digest: Digest | None = None  # of an image that was pushed
    skip_push_to_registry: bool | None = None


class BuildError(WireBody):
    """Why a builder gave up."""

    name: str
    message: str
    stack: str | None = None
    stderr: str | None = None


class FailBody(WireBody):
    """End a deployment that could not be built."""

    error: BuildError


class CancelBody(WireBody):
    """Call a deployment off."""

    reason: Annotated[str, StringConstraints(max_length=200)] | None = None


class ArtifactBody(WireBody):
    """Announce an artifact."""

    digest: Digest
    size: Annotated[int, Field(gt=0)]  # bytes
