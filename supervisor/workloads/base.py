"""What a supervisor asks of whatever runs workloads, and what each kind says it can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runs.contracts import DispatchFailure, MachinePreset

WorkloadType = Literal["CONTAINER", "MICROVM"]
CheckpointType = Literal["DOCKER", "KUBERNETES", "COMPUTE"]
ImageKind = Literal["artifact", "oci"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a workload manager can do; a run is only given to one that can do what it needs."""

    workload_type: WorkloadType
    image_kinds: frozenset[ImageKind]  # how code reaches it: our artifact, or a container image
    restores: frozenset[CheckpointType] = frozenset()  # checkpoints it can continue from
    supports_snapshot: bool = False  # it can take checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """One workload to start."""

    name: str  # unique: `runner-<run>-<dispatch number>`
    image: str
    machine: MachinePreset  # its numbers are the limits
    env: Mapping[str, str]  # everything the runner must know
    code: CodeSource  # where the image's code comes from


@dataclass(frozen=True, slots=True)
class Created:
    """The workload is running."""

    name: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The workload could not be started."""

    reason: DispatchFailure
    message: str
    permanent: bool = False  # no repeat can help


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """A workload is gone, and so is everything it had started."""

    name: str
    exit_code: int | None  # None when a signal ended it
    signal: int | None
    out_of_memory: bool  # there is evidence that it reached its memory limit
    last_words: str  # the end of what it wrote to its standard streams


class CodeSource(Protocol):
    """The platform's artifact store, with the credentials of the run's worker group."""

    def stream_artifact(self, image: str) -> object:
        """Open the download of an image's artifact."""


class WorkloadManager(Protocol):
    """Starts and ends workloads of one kind."""

    capabilities: Capabilities
    on_exit: Callable[[Exited], None]  # called once for each workload that was created

    async def create(self, spec: WorkloadSpec) -> Created | Failed:
        """Start a workload. Never raises: a failure is a value with its reason."""

    async def delete(self, name: str) -> None:
        """End a workload and everything it started; an unknown name is no error."""

    def list(self) -> Sequence[str]:
        """Give the names of the workloads that run."""

    async def close(self) -> None:
        """End every workload."""
