"""The machine presets a run may ask for, and reading an operator's own figures for them. Pure.

Source: the public list of the REST API.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class InvalidPresets(ValueError):
    """The figures cannot be read; the message says which."""


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
"""By name. The settings put an operator's figures in, once, before anything reads them."""

MOST = 1024  # cores, and GB
DEFAULT_MACHINE = "small-1x"


def read_presets(text: str) -> dict[str, Machine]:
    """Give the presets of a file: `{"machines": {name: {"cpu": cores, "memory": GB}}}`.

    Names that are not in it keep their figures; one that is no preset raises `InvalidPresets`.

    >>> read_presets('{"machines": {"micro": {"cpu": 0.5, "memory": 1}}}')["micro"].memory
    1.0
    """
    try:
        machines = json.loads(text)["machines"].items()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidPresets('it is no JSON object with an object "machines"') from error
    unknown = sorted(name for name, _ in machines if name not in PRESETS)
    if unknown:
        raise InvalidPresets(f"{', '.join(unknown)}: it is none of {', '.join(PRESETS)}")
    return {name: _machine(name, figures) for name, figures in machines}


def _machine(name: str, figures: Any) -> Machine:
    if not isinstance(figures, dict):
        raise InvalidPresets(f"{name}: it is no object")
    return Machine(name, _figure(name, figures.get("cpu")), _figure(name, figures.get("memory")))


def _figure(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= MOST:
        raise InvalidPresets(f"{name}: cpu and memory are numbers above 0, at most {MOST}")
    return float(value)
