"""Find and end processes of a stack whose runner was killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil

from webapp.embedded.environment import STACK_MARK
from webapp.embedded.stopping import stop_processes

if TYPE_CHECKING:
    from pathlib import Path


def clear_stack_processes(state_folder: Path) -> int:
    """Stop every other process that carries the mark of this state folder; give how many.

    A process that cannot be looked at belongs to somebody else and is none of ours.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    left = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(STACK_MARK) == str(state_folder)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if marked and process.pid not in mine:
            left.append(process)
    stop_processes(left)
    return len(left)
