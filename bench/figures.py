"""The arithmetic of the benchmarks. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Kind = Literal["rate", "time"]
"""Of a rate more is better, of a time less."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest of `values` that at least `percent` (0-100) of them do not exceed.

    That is the nearest rank: always a value that was measured, never one between two. Raise
    ValueError when there are none, or for a percent outside 0 to 100.

    >>> percentile([5.0, 1.0, 4.0, 2.0, 3.0], 50)
    3.0
    """
    if not values:
        raise ValueError("there is no percentile of nothing")
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent} is no percentage")
    rank = max(1, math.ceil(percent / 100 * len(values)))
    return sorted(values)[rank - 1]


def median(values: Sequence[float]) -> float:
    """Give the middle value; of an even number the lower of the two, so that it was measured.

    >>> median([1.0, 9.0, 3.0])
    3.0
    """
    return percentile(values, 50)


def times_better(ours: float, theirs: float, kind: Kind) -> float:
    """Give how many times better we are: rates ours/theirs, times theirs/ours.

    Raise ValueError when either is not positive: then one of them was not measured.

    >>> times_better(300.0, 150.0, "rate"), times_better(2.0, 10.0, "time")
    (2.0, 5.0)
    """
    if ours <= 0 or theirs <= 0:
        raise ValueError(f"{ours} and {theirs} cannot be compared")
    return ours / theirs if kind == "rate" else theirs / ours


def slowdown(base: Sequence[float], loaded: Sequence[float]) -> float:
    """Give the middle quotient of two rates measured in turns; 1.05 is 5 % slower.

    `base[i]` and `loaded[i]` (per second) belong to one round, so that what disturbs the machine
    for longer than a round disturbs both. Raise ValueError when their numbers differ.

    >>> slowdown([100.0, 50.0, 100.0], [80.0, 50.0, 100.0])
    1.0
    """
    if len(base) != len(loaded):
        raise ValueError("a round has one rate of each")
    return median([times_better(a, b, "rate") for a, b in zip(base, loaded, strict=True)])
