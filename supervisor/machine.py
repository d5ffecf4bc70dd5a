"""What this machine has and what is in use: real cores and real memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

GB = 1024**3
CGROUP_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of the machine is taken."""

    cpu_used: float  # cores
    cpu_total: float  # cores
    memory_used_gb: float
    memory_free_gb: float  # what a new process can really get


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine a supervisor runs on, or what its operator says it may use of it."""

    cpu_total: float  # cores
    memory_total_gb: float

    def usage(self) -> Usage:
        """Measure now; the processor share covers the time since the last call."""
        free_gb = self.memory_free_gb()
        return Usage(
            cpu_used=min(self.cpu_total, psutil.cpu_percent() / 100 * (os.cpu_count() or 1)),
            cpu_total=self.cpu_total,
            memory_used_gb=max(0.0, self.memory_total_gb - free_gb),
            memory_free_gb=free_gb,
        )

    def memory_free_gb(self) -> float:
        """Give what a new process can really get now."""
        return min(psutil.virtual_memory().available / GB, self.memory_total_gb)


def read_machine(*, cpu_total: float | None, memory_total_gb: float | None) -> Machine:
    """Give the machine: an override where one is set, else what this process may really use."""
    return Machine(
        cpu_total=cpu_total or float(len(os.sched_getaffinity(0))),
        memory_total_gb=memory_total_gb or _memory_bytes() / GB,
    )


def _memory_bytes() -> float:
    limits = [float(psutil.virtual_memory().total)]
    for path in CGROUP_MEMORY_LIMITS:
        text = path.read_text(encoding="ascii").strip() if path.exists() else "max"
        limits.append(float("inf") if text == "max" else float(text))
    return min(limits)
