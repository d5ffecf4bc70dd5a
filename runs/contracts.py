"""The wire models of the worker API: what supervisors, runners and the platform say to each other.

Plain Pydantic, shared by the web process and the supervisor. Field names are those of the wire
(camelCase), because another implementation reads them; unknown fields are ignored on the way in.
Unset fields are left out of every answer, never sent as null: use `to_wire`.

Source: the worker API (`/engine/v1/worker-actions`) of the public protocol, as npm's
`@trigger.dev/core` speaks it, and `docs/worker-api.md`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from compute.processes.values import DispatchFailure
from runs.storable import storable_value

Storable = BeforeValidator(storable_value)

Instant = Annotated[
    datetime,
    PlainSerializer(
        lambda at: at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        return_type=str,
        when_used="json",
    ),
]
"""An aware UTC moment; ISO 8601 with milliseconds and Z on the wire."""

EnvironmentType = Literal["PRODUCTION", "STAGING", "PREVIEW", "DEVELOPMENT"]


class Wire(BaseModel):
    """Base of every message: unknown fields are ignored, values are frozen."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def to_wire(self) -> dict[str, Any]:
        """Give the JSON object of this message; unset fields are left out."""
        return self.model_dump(mode="json", exclude_none=True)


# -- supervisors ----------------------------------------------------------------------------------


class ConnectRequest(Wire):
    """A supervisor says hello."""

    metadata: dict[str, Any] = {}


class WorkerGroupRef(Wire):
    """The worker group a token belongs to."""

    type: Literal["MANAGED", "UNMANAGED"]
    name: str


class ConnectAnswer(Wire):
    """The platform knows the token."""

    ok: Literal[True] = True
    workerGroup: WorkerGroupRef  # noqa: N815


class Resources(Wire):
    """What a machine can still take."""

    cpu: float  # cores
    memory: float  # GB


class DequeueRequest(Wire):
    """A supervisor asks for work; the answer is a list of `DequeuedMessage`."""

    maxResources: Resources | None = None  # noqa: N815  # runs larger than this are not given
    maxRunCount: int = Field(default=1, ge=1, le=100)  # noqa: N815
    queueClass: Literal["default", "scheduled"] = "default"  # noqa: N815


class Usage(Wire):
    """How much of one resource is taken and how much is left."""

    used: float
    available: float


class WorkerHeartbeat(Wire):
    """A supervisor is alive."""

    cpu: Usage | None = None  # cores
    memory: Usage | None = None  # GB
    tasks: list[str] = []


class SnapshotRef(Wire):
    """One recorded state of a run. Ids of one run sort in the order they were made."""

    id: str
    friendlyId: str  # noqa: N815
    executionStatus: str  # noqa: N815
    description: str
    createdAt: Instant  # noqa: N815


class MachinePreset(Wire):
    """What a run may use."""

    name: str
    cpu: float  # cores
    memory: float  # GB
    centsPerMs: float = 0.0  # noqa: N815


class Checkpoint(Wire):
    """A saved workload that a run continues from."""

    id: str
    friendlyId: str | None = None  # noqa: N815
    type: Literal["DOCKER", "KUBERNETES", "COMPUTE"]
    location: str
    imageRef: str | None = None  # noqa: N815
    reason: str | None = None


class CompletedWaitpoint(Wire):
    """A wait that is over, handed to the attempt that waited."""

    id: str
    index: int | None = None
    friendlyId: str  # noqa: N815
    type: Literal["RUN", "DATETIME", "MANUAL", "BATCH"]
    completedAt: Instant  # noqa: N815
    output: str | None = None
    outputType: str | None = None  # noqa: N815
    outputIsError: bool = False  # noqa: N815


class BackgroundWorkerRef(Wire):
    """The deployed code version of a run."""

    id: str
    friendlyId: str  # noqa: N815
    version: str
    runtime: str | None = None


class DeploymentRef(Wire):
    """The deployment a version came with; empty in development."""

    id: str | None = None
    friendlyId: str | None = None  # noqa: N815
    imagePlatform: str | None = None  # noqa: N815


class DequeuedRun(Wire):
    """The run of a `DequeuedMessage`."""

    id: str
    friendlyId: str  # noqa: N815
    isTest: bool = False  # noqa: N815
    isReplay: bool = False  # noqa: N815
    machine: MachinePreset
    attemptNumber: int  # noqa: N815  # the number the next attempt will have
    masterQueue: str  # noqa: N815  # the worker queue it was taken from
    traceContext: dict[str, Any] = {}  # noqa: N815


class DequeuedEnvironment(Wire):
    """The environment of a `DequeuedMessage`."""

    id: str
    type: EnvironmentType


class DequeuedOrganization(Wire):
    """The organization of a `DequeuedMessage`."""

    id: str
    hasPrivateLink: bool | None = None  # noqa: N815


class DequeuedProject(Wire):
    """The project of a `DequeuedMessage`."""

    id: str
    ref: str | None = None


class PlacementTag(Wire):
    """A hint for schedulers of workloads."""

    key: str
    values: list[str] | None = None


class DequeuedMessage(Wire):
    """A leased run. Whoever holds it starts a workload or reports `DispatchFailed`."""

    version: Literal["1"] = "1"
    snapshot: SnapshotRef
    dequeuedAt: Instant  # noqa: N815
    workerQueueLength: int | None = None  # noqa: N815
    image: str | None = None
    checkpoint: Checkpoint | None = None
    completedWaitpoints: list[CompletedWaitpoint] = []  # noqa: N815
    backgroundWorker: BackgroundWorkerRef  # noqa: N815
    deployment: DeploymentRef
    run: DequeuedRun
    environment: DequeuedEnvironment
    organization: DequeuedOrganization
    project: DequeuedProject
    placementTags: list[PlacementTag] = []  # noqa: N815
    dispatch: int = 1  # how often this run has been handed out; part of the instance's name


class DispatchFailed(Wire):
    """A workload could not be started for a leased run."""

    reason: DispatchFailure
    message: Annotated[str, Field(max_length=4096), Storable]
    permanent: bool = False  # true: no repeat can help, the run ends


class Ok(Wire):
    """Done."""

    ok: Literal[True] = True


# -- attempts -------------------------------------------------------------------------------------


class StartAttempt(Wire):
    """A runner begins an attempt."""

    isWarmStart: bool = False  # noqa: N815


class BuiltInError(Wire):
    """An exception with a name, a message and a traceback."""

    type: Literal["BUILT_IN_ERROR"] = "BUILT_IN_ERROR"
    name: str
    message: str
    stackTrace: str = ""  # noqa: N815


class CustomError(Wire):
    """A thrown value that is no exception, as JSON text."""

    type: Literal["CUSTOM_ERROR"] = "CUSTOM_ERROR"
    raw: str


class StringError(Wire):
    """A thrown string."""

    type: Literal["STRING_ERROR"] = "STRING_ERROR"
    raw: str


class InternalError(Wire):
    """The platform's or the runner's own failure; `code` decides the run's final status."""

    type: Literal["INTERNAL_ERROR"] = "INTERNAL_ERROR"
    code: str
    message: str | None = None
    stackTrace: str | None = None  # noqa: N815


TaskError = Annotated[
    BuiltInError | CustomError | StringError | InternalError, Field(discriminator="type")
]


class RetryTiming(Wire):
    """When the runner would try again, by the task's own retry settings."""

    timestamp: float  # epoch ms
    delay: float  # ms


class RunUsage(Wire):
    """What an attempt used."""

    durationMs: float = 0  # noqa: N815


class FlushedMetadata(Wire):
    """The run's metadata as the attempt left it."""

    data: str | None = None
    dataType: str = "application/json"  # noqa: N815


class AttemptSucceeded(Wire):
    """The task function returned."""

    ok: Literal[True]
    id: str
    output: str | None = None
    outputType: str = "application/json"  # noqa: N815
    usage: RunUsage | None = None
    taskIdentifier: str | None = None  # noqa: N815
    flushedMetadata: FlushedMetadata | None = None  # noqa: N815


class AttemptFailed(Wire):
    """The task function raised, or the process died."""

    ok: Literal[False]
    id: str
    error: TaskError
    retry: RetryTiming | None = None
    skippedRetrying: bool = False  # noqa: N815
    usage: RunUsage | None = None
    taskIdentifier: str | None = None  # noqa: N815
    flushedMetadata: FlushedMetadata | None = None  # noqa: N815


Completion = Annotated[AttemptSucceeded | AttemptFailed, Field(discriminator="ok")]


class CompleteAttempt(Wire):
    """A runner ends an attempt."""

    completion: Completion
    forceRequeue: bool = False  # noqa: N815  # the workload is gone: retry through the queue


class RunHeartbeat(Wire):
    """A runner is alive."""

    cpu: float | None = None
    memory: float | None = None


class RunRef(Wire):
    """A run in the answers of the worker API."""

    id: str
    friendlyId: str  # noqa: N815
    status: str
    attemptNumber: int | None = None  # noqa: N815


class RunExecutionData(Wire):
    """A run at one of its snapshots."""

    version: Literal["1"] = "1"
    snapshot: SnapshotRef
    run: RunRef
    checkpoint: Checkpoint | None = None
    completedWaitpoints: list[CompletedWaitpoint] = []  # noqa: N815


class AttemptResult(Wire):
    """What became of a completed attempt."""

    attemptStatus: Literal[  # noqa: N815
        "RUN_FINISHED", "RUN_PENDING_CANCEL", "RETRY_QUEUED", "RETRY_IMMEDIATELY"
    ]
    run: RunRef
    snapshot: SnapshotRef


# -- logs -----------------------------------------------------------------------------------------


class LogLine(Wire):
    """One line an attempt wrote."""

    seq: int = Field(ge=0, le=2_147_483_647)
    at: float  # epoch ms
    stream: Literal["stdout", "stderr", "log"]
    level: Annotated[str, Field(max_length=16), Storable] | None = None
    text: Annotated[str, Field(max_length=65_536), Storable]


class LogBatch(Wire):
    """Lines of one attempt; sending a line again changes nothing."""

    attempt: int = Field(ge=1, le=2_147_483_647)
    lines: list[LogLine] = Field(max_length=1000)
