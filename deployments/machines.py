"""The machine presets a task may name.

Pure. Source: the public protocol's table of presets.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Machine(NamedTuple):
    """What a preset gives a run."""

    name: str
    cpu: float  # cores
    memory_gb: float


MACHINES: Final = (
    Machine("micro", 0.25, 0.25),
    Machine("small-1x", 0.5, 0.5),
    Machine("small-2x", 1, 1),
    Machine("medium-1x", 1, 2),
    Machine("medium-2x", 2, 4),
    Machine("large-1x", 4, 8),
    Machine("large-2x", 8, 16),
)
"""Smallest first."""

MACHINE_BY_NAME: Final = {machine.name: machine for machine in MACHINES}
DEFAULT_MACHINE: Final = "small-1x"


def smallest_machine_for(cpu: float, memory_gb: float) -> Machine | None:
    """Give the smallest preset that holds both, or None when none does.

    >>> smallest_machine_for(1, 1.5).name
    'medium-1x'
    """
    holding = (m for m in MACHINES if m.cpu >= cpu and m.memory_gb >= memory_gb)
    return next(holding, None)
