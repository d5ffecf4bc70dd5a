"""Find and stop processes that a killed starter left behind."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

POLITE_S = 10.0  # how long a leftover may take to stop by itself
FORCED_S = 5.0


def processes_in(folder: Path, program: str) -> list[psutil.Process]:
    """Give the running processes of a program whose working folder is this one.

    A process that cannot be looked at belongs to somebody else and is none of ours.
    """
    wanted = str(folder.resolve())
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == wanted and Path(process.exe()).name == program:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def stop_processes(
    processes: Sequence[psutil.Process], *, polite: signal.Signals = signal.SIGTERM
) -> None:
    """Ask the topmost of them to stop, wait for all, and kill what has not ended."""
    ids = {process.pid for process in processes}
    for process in processes:
        if _parent_of(process) not in ids:
            ask_to_stop(process, polite)
    _, alive = psutil.wait_procs(processes, timeout=POLITE_S)
    for process in alive:
        ask_to_stop(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=FORCED_S)


def _parent_of(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def ask_to_stop(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal that stops a process, also one that stands still: else it would not hear it."""
    try:
        process.send_signal(number)
        process.resume()
    except psutil.NoSuchProcess:
        return
