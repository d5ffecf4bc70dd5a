"""What the deployment calls accept. Field names are those of the wire; unknown ones are ignored.

Source: the public deployment API, as its command line tool speaks it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

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

MIN_DURATION_S = 5
MAX_INT = 2**31 - 1
MAX_ATTEMPTS = 250
MAX_TASKS = 5_000
MAX_CONCURRENCY = 100_000


def _queue_name(text: str) -> str:
    if not clean_queue_name(text):
        raise ValueError("a queue's name has letters, digits, '_', '-' or '/'")
    return text


def _ttl_s(value: int | str) -> int:
    seconds = seconds_of(value) if isinstance(value, str) else value
    if seconds is None or not 0 < seconds <= MAX_INT:
        raise ValueError("a ttl is a duration such as '10m', or a positive number of seconds")
    return seconds


def _blank_is_none(text: str | None) -> str | None:
    return (text or "").strip() or None


Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Short = Annotated[str, StringConstraints(max_length=128)]
Hash = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
QueueName = Annotated[str, AfterValidator(_queue_name)]
Limit = Annotated[int, Field(ge=0, le=MAX_CONCURRENCY)]


class WireBody(BaseModel):
    """A request of the public protocol: strict types, unknown keys ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class StoredBody(BaseModel):
    """A part of a version's metadata, which is kept as it was sent, unknown keys too."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class InitializeBody(WireBody):
    """Begin a deployment."""

    contentHash: Hash  # noqa: N815
    type: Literal["MANAGED", "UNMANAGED", "V1"] | None = None
    runtime: Short | None = None
    runtimeVersion: Short | None = None  # noqa: N815
    gitMeta: dict[str, Any] | None = None  # noqa: N815
    externalId: Annotated[Short | None, AfterValidator(_blank_is_none)] = None  # noqa: N815
    triggeredVia: Short | None = None  # noqa: N815
    artifactKey: Digest | None = None  # noqa: N815  # the digest of its artifact
    initialStatus: Literal["PENDING", "BUILDING"] | None = None  # noqa: N815
    isNativeBuild: bool | None = None  # noqa: N815  # a builder picks it up later
    skipPromotion: bool | None = None  # noqa: N815
    force: bool | None = None

    def to_request(self) -> DeploymentRequest:
        """Give what the service takes."""
        status = self.initialStatus or ("PENDING" if self.isNativeBuild else "BUILDING")
        return DeploymentRequest(
            content_hash=self.contentHash,
            artifact_digest=self.artifactKey,
            runtime=self.runtime,
            runtime_version=self.runtimeVersion,
            git=self.gitMeta,
            external_id=self.externalId,
            triggered_via=self.triggeredVia,
            skip_promotion=self.skipPromotion or False,
            force=self.force or False,
            starts_pending=status == "PENDING",
        )


class TaskQueueBody(StoredBody):
    """The queue of a task; without a name it is the task's own."""

    name: QueueName | None = None
    concurrencyLimit: Limit | None = None  # noqa: N815


class QueueBody(StoredBody):
    """A queue declared beside the tasks."""

    name: QueueName
    concurrencyLimit: Limit | None = None  # noqa: N815

    def to_manifest(self) -> QueueManifest:
        """Give the queue as a version declares it."""
        return QueueManifest(name=self.name, concurrency_limit=self.concurrencyLimit)


class RetryBody(StoredBody):
    """How a task is tried again."""

    maxAttempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None  # noqa: N815
    factor: Annotated[float, Field(gt=0)] | None = None
    minTimeoutInMs: Annotated[float, Field(ge=0)] | None = None  # noqa: N815
    maxTimeoutInMs: Annotated[float, Field(ge=0)] | None = None  # noqa: N815
    randomize: bool | None = None


class MachineBody(StoredBody):
    """The machine of a task: a preset, or what it has to hold."""

    preset: str | None = None
    cpu: Annotated[float, Field(gt=0)] | None = None  # cores
    memory: Annotated[float, Field(gt=0)] | None = None  # GB


def _known_machine(machine: MachineBody) -> MachineBody:
    if machine_name(machine) not in PRESETS:
        raise ValueError(f"the machine is one of {', '.join(PRESETS)}")
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
    filePath: Annotated[str, StringConstraints(min_length=1, max_length=1024)]  # noqa: N815
    exportName: Annotated[str, StringConstraints(max_length=1024)] | None = None  # noqa: N815
    description: str | None = None
    queue: TaskQueueBody | None = None
    retry: RetryBody | None = None
    machine: Annotated[MachineBody, AfterValidator(_known_machine)] | None = None
    maxDuration: Annotated[float, Field(ge=0, le=MAX_INT)] | None = None  # noqa: N815  # seconds
    ttl: Annotated[int | str, AfterValidator(_ttl_s)] | None = None

    def to_manifest(self) -> TaskManifest:
        """Give the task as a version defines it, with the defaults in place."""
        queue = self.queue or TaskQueueBody()
        retry = (
            None if self.retry is None else self.retry.model_dump(mode="json", exclude_none=True)
        )
        attempts = None if self.retry is None else self.retry.maxAttempts
        return TaskManifest(
            slug=self.id,
            file_path=self.filePath,
            export_name=self.exportName or "",
            description=self.description,
            queue_name=queue.name,
            queue_concurrency_limit=queue.concurrencyLimit,
            machine=machine_name(self.machine),
            retry=retry,
            max_attempts=DEFAULT_MAX_ATTEMPTS if attempts is None else attempts,
            max_duration_s=_max_duration_s(self.maxDuration),
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

    packageVersion: Short  # noqa: N815
    contentHash: Hash  # noqa: N815
    tasks: Annotated[list[TaskBody], Field(max_length=MAX_TASKS), AfterValidator(_distinct_tasks)]
    queues: Annotated[list[QueueBody], Field(max_length=MAX_TASKS)] | None = None
    runtime: Short | None = None
    runtimeVersion: Short | None = None  # noqa: N815


class BackgroundWorkerBody(WireBody):
    """Register the tasks and queues of a version."""

    metadata: MetadataBody
    localOnly: bool | None = None  # noqa: N815
    engine: Literal["V1", "V2"] | None = None

    def to_manifest(self) -> VersionManifest:
        """Give what the service takes."""
        metadata = self.metadata
        return VersionManifest(
            content_hash=metadata.contentHash,
            package_version=metadata.packageVersion,
            tasks=tuple(task.to_manifest() for task in metadata.tasks),
            queues=tuple(queue.to_manifest() for queue in metadata.queues or ()),
            runtime=metadata.runtime,
            runtime_version=metadata.runtimeVersion,
            metadata=metadata.model_dump(mode="json", exclude_unset=True),
        )


class FinalizeBody(WireBody):
    """Complete a deployment."""

    skipPromotion: bool | None = None  # noqa: N815
    imageDigest: Digest | None = None  # noqa: N815  # of an image that was pushed
    skipPushToRegistry: bool | None = None  # noqa: N815


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
