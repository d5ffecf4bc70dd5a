"""What a process that was killed may have left behind: folders, and processes that escaped.

The kernel kills a workload with its parent, but not what the workload had started itself. Such
processes are known by the runner id in their environment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

RUNNER_ID = "TRIGGER_RUNNER_ID"


class FolderInUse(Exception):
    """Another process works in this folder."""


def lock_folder(folder: Path) -> int:
    """Take the folder for this process as long as it lives. Raises `FolderInUse`."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "workloads.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise FolderInUse(f"another process works in {folder}") from error
    return lock


def clear_leftovers(runs_folder: Path) -> list[str]:
    """Kill what is left of workloads that have a folder here, remove the folders, name them."""
    runs_folder.mkdir(parents=True, exist_ok=True)
    runs_folder.chmod(0o711)  # workloads enter their own folder and cannot list the others
    names = sorted(path.name for path in runs_folder.iterdir())
    if names:
        _kill_runners(frozenset(names))
    for name in names:
        shutil.rmtree(runs_folder / name)
    return names


def _kill_runners(names: frozenset[str]) -> None:
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUNNER_ID) in names:
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended meanwhile, or it is another user's and not ours
