"""Which machines fit into a room. The presets are those of `deployments.machines`. Pure."""

from __future__ import annotations

from deployments.machines import DEFAULT_MACHINE, PRESETS, Machine

__all__ = ["DEFAULT_MACHINE", "PRESETS", "Machine", "machines_within"]


def machines_within(*, cpu: float, memory: float) -> list[str]:
    """Name the presets that fit into so many cores and GB.

    >>> machines_within(cpu=0.5, memory=1)
    ['micro', 'small-1x']
    """
    return [m.name for m in PRESETS.values() if m.cpu <= cpu and m.memory <= memory]
