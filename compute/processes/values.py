"""What is asked of whatever starts workloads as processes, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNNER_MODULE = "crossfade.runner"  # what a workload executes

DispatchFailure = Literal[
    "no_image", "create_failed", "restore_failed", "no_capacity", "unsupported"
]
"""Why a workload could not be started."""


class ArtifactSource(Protocol):
    """Where artifacts come from: the platform, with credentials of whoever asks."""

    def stream_artifact(self, image: str) -> Any:
        """Open the download; an async context manager of a streamed `httpx.Response`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to start."""

    name: str  # unique, also as the name of a folder
    image: str
    memory_gb: float  # the limit, before what a Python needs for itself
    env: Mapping[str, str]  # everything the runner must know
    code: ArtifactSource | None  # None: no code, the process idles until it is ended


@dataclass(frozen=True, slots=True)
class Created:
    """The workload is running."""

    name: str
    is_warm: bool = False  # in a process that had imported its code before


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
    exit_code: int | None  # None when a signal ended it, or nobody knows
    signal: int | None
    out_of_memory: bool  # there is evidence that it reached its memory limit
    last_words: str  # the end of what it wrote to its standard streams
