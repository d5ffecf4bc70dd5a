"""Users for workloads: as root, each running workload gets a user id that nobody else has.

A slot is a number with a lock file that is held while the slot is in use, so that several
processes of one machine never give the same user id to two workloads. The lock goes with the
process that holds it. All slots have one group, so that workloads may share a file outside their
private folders. Without root there is nothing to separate and a slot has no user.
"""

from __future__ import annotations

import fcntl
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

from compute.processes.child import User


@dataclass(frozen=True, slots=True)
class Slot:
    """One place for a workload."""

    user: User | None = None
    lock: int | None = None  # the descriptor that holds the lock


class Slots:
    """Hands out user ids from `uid_base` on."""

    def __init__(self, *, uid_base: int | None, count: int, folder: Path) -> None:
        self._uids = range(uid_base, uid_base + count) if uid_base is not None else None
        self._folder = folder
        self._used: set[int] = set()

    def take(self) -> Slot | None:
        """Give a free slot, or None when all are taken."""
        if self._uids is None:
            return Slot()
        for uid in self._uids:
            if uid in self._used:
                continue
            lock = _lock(self._folder / f"{uid}.lock")
            if lock is not None:
                self._used.add(uid)
                return Slot(User(uid=uid, gid=self._uids.start), lock)
        return None

    def give_back(self, slot: Slot) -> None:
        """Free a slot once nothing of its user is left."""
        if slot.user is None or slot.lock is None:
            return
        kill_user(slot.user.uid)
        os.close(slot.lock)
        self._used.discard(slot.user.uid)


def kill_user(uid: int) -> None:
    """Kill every process of a user: also one that left its group and its session."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and _owner(entry) == uid:
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue


def _owner(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_uid
    except FileNotFoundError:  # it ended meanwhile
        return None


def _lock(path: Path) -> int | None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
