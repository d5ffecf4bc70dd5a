"""The machine presets a run may ask for. Source: the public list of the REST API."""

from __future__ import annotations

from typing import NamedTuple


class Machine(NamedTuple):
    """What one preset gives."""

    name: str
    cpu: float  # cores
    memory: float  # GB


PRESETS: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        Machine("micro", 0.25, 0.25),
        Machine("small-1x", 0.5, 0.5),
        Machine("small-2x", 1, 1),
        Machine("medium-1x", 1, 2),
        Machine("medium-2x", 2, 4),
        Machine("large-1x", 4, 8),
        Machine("large-2x", 8, 16),
    )
}
DEFAULT_MACHINE = "small-1x"


def machines_within(*, cpu: float, memory: float) -> list[str]:
    """Name the presets that fit into so many cores and GB.

    >>> machines_within(cpu=0.5, memory=1)
    ['micro', 'small-1x']
    """
    return [m.name for m in PRESETS.values() if m.cpu <= cpu and m.memory <= memory]
