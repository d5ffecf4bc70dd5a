"""Looks, inside a process of the control plane, at what its next decision would be.

The decision is a trigger's own: caller, base and placement, from memory. Whenever the enrollment
differs from the last one, a line with the machine's monotonic clock is written.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from django.apps import AppConfig

FILE_VARIABLE = "CROSSFADE_BENCH_PROBE"  # where to write
KEY_VARIABLE = "CROSSFADE_BENCH_PROBE_KEY"  # the environment key whose triggers are decided
LOOK_S = 0.002  # often enough to be exact, seldom enough to leave the machine to the others


class Sighting(NamedTuple):
    """When a decision changed in a process, and to what."""

    at_ns: int  # CLOCK_MONOTONIC, which is one clock for all processes of a machine
    enrollment: str


class ProbeConfig(AppConfig):
    """Starts the look-out in every process that loads the apps."""

    name = "bench"
    path = str(Path(__file__).parent)

    def ready(self) -> None:
        """Start the thread."""
        path = Path(os.environ[FILE_VARIABLE])  # noqa: TID251  the edge of the process
        key = os.environ[KEY_VARIABLE]  # noqa: TID251
        threading.Thread(target=_look_out, args=(path, key), name="probe", daemon=True).start()


def last_sighting(text: str) -> Sighting | None:
    r"""Give the last whole line that a probe has written; None before the first.

    >>> last_sighting("1 cold\n25 global_off\n3")
    Sighting(at_ns=25, enrollment='global_off')
    """
    lines = text.rpartition("\n")[0]
    if not lines:
        return None
    at_ns, _, enrollment = lines.rpartition("\n")[2].partition(" ")
    return Sighting(int(at_ns), enrollment)


def _look_out(path: Path, key: str) -> None:
    from webapp.wiring import is_ready  # noqa: PLC0415  models come first

    while not is_ready():
        time.sleep(LOOK_S)
    seen = ""
    with path.open("a", buffering=1) as lines:
        while True:
            enrollment = _decide(key)
            if enrollment != seen:
                lines.write(f"{time.monotonic_ns()} {enrollment}\n")
                seen = enrollment
            time.sleep(LOOK_S)


def _decide(key: str) -> str:
    from deployments.environment_entry import entry_for  # noqa: PLC0415
    from flags.callers import find_caller  # noqa: PLC0415
    from runs.base import base_for  # noqa: PLC0415
    from runs.placement import decide_placement  # noqa: PLC0415

    caller = find_caller(key)
    assert caller is not None, "the probe's key is unknown"
    base = base_for(caller, entry_for(caller.environment.id), None)
    return decide_placement(base.placement_input).enrollment.value
