"""Adopt and end what the processes of the stack leave behind.

On Linux a process may ask to become the parent of its orphaned descendants. The runner does, so
that whatever a killed process leaves - in its own group or not - becomes the runner's child, and
is found and ended before the process is started again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection

PR_SET_CHILD_SUBREAPER = 36
GENERATIONS = 20  # orphans of orphans arrive as their parents end
WAIT_S = 2.0


def children_now() -> set[int]:
    """Give the process ids of the children this process has."""
    return {child.pid for child in psutil.Process().children()}


def adopt_orphans(*, adopt: bool) -> None:
    """Become the parent of descendants whose own parent dies, or no longer.

    Only Linux can do this; elsewhere orphans are found by their process group alone.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "orphans cannot be adopted")


def end_group(leader: int) -> None:
    """Kill what is left of the process group of a process that is dead."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing is left, or only what has ended and was not yet waited for


def end_orphans(known: Collection[int]) -> int:
    """Kill every child of this process that it did not start itself, and give how many there were.

    `known` are the process ids that were started on purpose.
    """
    ended = 0
    for _ in range(GENERATIONS):
        orphans = [child for child in psutil.Process().children() if child.pid not in known]
        if not orphans:
            break
        for orphan in orphans:
            _kill(orphan)
        ended += len(orphans)
        psutil.wait_procs(orphans, timeout=WAIT_S)
    return ended


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
