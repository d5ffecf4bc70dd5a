"""The state folder of a stack: what lies where, and who holds it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "crossfade-state"  # says that this folder is ours to remove
KNOWN = frozenset({"run", "log", "artifacts", "supervisor"})  # may be there before the first start


class StackRunning(Exception):
    """Another stack holds the state folder."""


class NotAStateFolder(Exception):
    """The folder named by CROSSFADE_VAR holds something else."""


@dataclass(frozen=True, slots=True)
class State:
    """One state folder (`var/` unless CROSSFADE_VAR says otherwise)."""

    root: Path

    @property
    def run(self) -> Path:
        """Process ids, one file a process."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """JSON lines, one file a process."""
        return self.root / "log"

    @property
    def secrets(self) -> Path:
        """What `webapp.embedded.secrets` keeps."""
        return self.root / "secrets.json"

    @property
    def demo(self) -> Path:
        """What the demo world's seed wrote: its keys and tokens."""
        return self.root / "demo.json"

    @property
    def dev_env(self) -> Path:
        """What a person sources."""
        return self.root / "dev.env"

    def make(self) -> None:
        """Make the folders. Raise `NotAStateFolder` when something else lies here."""
        marker = self.root / MARKER
        present = {path.name for path in self.root.iterdir()} if self.root.exists() else set()
        if present - KNOWN and MARKER not in present:
            raise NotAStateFolder(f"{self.root} is not empty and no state folder of a stack")
        for folder in (self.root, self.run, self.log):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        marker.touch()

    def is_ours(self) -> bool:
        """Say whether this folder was made by a stack."""
        return (self.root / MARKER).exists()

    def hold(self) -> IO[str]:
        """Give the open lock file, which keeps other stacks out until it is closed.

        Raise `StackRunning` when another process holds it. The system lets go of the lock when
        its holder dies, however that happens.
        """
        lock = (self.run / "stack.pid").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StackRunning(f"a stack runs on {self.root} already") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def holder(self) -> int | None:
        """Give the process id of the stack that runs on this folder, or None."""
        try:
            with (self.run / "stack.pid").open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(lock.read().strip() or 0) or None
        except FileNotFoundError:
            return None
        return None
