"""What a supervisor asks of whatever runs workloads, and what each kind says it can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from compute.processes.values import ArtifactSource, Created, Exited, Failed
    from runs.contracts import MachinePreset

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


def ignore_name(_name: str) -> None:
    """Do nothing: a workload keeps its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """One workload to start."""

    name: str  # unique: `runner-<run>-<dispatch number>`
    image: str
    machine: MachinePreset  # its numbers are the limits
    env: Mapping[str, str]  # everything the runner must know
    code: ArtifactSource  # where the image's code comes from
    metadata: Mapping[str, str] = field(default_factory=dict)  # whose it is, for people
    labels: Mapping[str, str] = field(default_factory=dict)  # whose it is, for network policy
    renamed: Callable[[str], None] = ignore_name  # told before a start under another name


class WorkloadManager(Protocol):
    """Starts and ends workloads of one kind."""

    capabilities: Capabilities
    on_exit: Callable[[Exited], None]  # called once for each workload that was created

    def start(self) -> None:
        """Begin to watch over workloads; the event loop runs."""

    async def create(self, spec: WorkloadSpec) -> Created | Failed:
        """Start a workload. Never raises: a failure is a value with its reason."""

    async def delete(self, name: str) -> None:
        """End a workload and everything it started; an unknown name is no error."""

    def finish(self, name: str) -> None:
        """Know that a workload has nothing more to do: it ends by itself, or is made to."""

    def list(self) -> Sequence[str]:
        """Give the names of the workloads that run."""

    async def close(self) -> None:
        """End every workload."""
