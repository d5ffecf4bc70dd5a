"""Starting one workload's process: its folder, its limits, its whole environment.

Each process gets a session of its own, an environment made from an allow-list, a private folder
that goes with it, limits on memory, files and processes, and, as root, a user of its own. It dies
with the process that started it.

Memory is limited by `RLIMIT_DATA`: private writable memory. Address space that is only reserved
(the arenas of the allocator, mapped files, libraries) does not count, as it would under
`RLIMIT_AS`. The limit is the preset's memory plus `OVERHEAD_BYTES`, so that the smallest preset
starts a Python with its threads. It holds per process; processor time is not limited, a workload is
only less important (`NICE`) than this process.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compute.processes.child import Child, Death, User, start_child
from compute.processes.leftovers import RUNNER_ID
from compute.processes.values import RUNNER_MODULE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from compute.processes.artifacts import Code
    from compute.processes.interpreter import Interpreter, Packages
    from compute.processes.slots import Slot

OVERHEAD_BYTES = 64 * 1024**2
MAX_FILES = 4096
MAX_PROCESSES = 512  # of the workload's own user; without one it would count everybody's
NICE = 5
BOOTSTRAP = (Path(__file__).parent / "bootstrap.py").read_text(encoding="utf-8")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How processes are started."""

    runs_folder: Path  # one private folder per workload
    interpreter: Interpreter
    packages: Packages
    prepare_wait_s: float = 5.0  # what a lease waits for code and packages, before it goes back
    stop_grace_s: float = 1.0  # between asking a workload to end and killing it
    runner_module: str = RUNNER_MODULE


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a process is started from."""

    python: Path
    code: Code | None  # pinned until it is released


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One process to start."""

    name: str  # of its private folder, and by which leftovers are found
    prepared: Prepared
    slot: Slot
    memory_gb: float
    env: Mapping[str, str]
    module: str | None  # what it executes; None: it idles
    line: int | None = None  # a descriptor it has beside its standard streams

    def with_line(self, line: int, env: Mapping[str, str]) -> Launch:
        """Give the same with a descriptor, and with variables added."""
        return replace(self, line=line, env={**self.env, **env})


@dataclass(slots=True)
class Running:
    """A process that runs, and what has to be given back when it ends."""

    child: Child
    prepared: Prepared
    slot: Slot
    limit_bytes: int
    folders: list[Path] = field(default_factory=list)


class Launcher:
    """Starts processes from one interpreter below one folder."""

    def __init__(self, options: PoolOptions) -> None:
        self.options = options

    def start(self, launch: Launch, *, on_death: Callable[[Death], None]) -> Running:
        """Start a process in a fresh private folder. Raises `OSError`; nothing is left then."""
        folder = self.make_folder(launch.name, launch.slot)
        limit_bytes = int(launch.memory_gb * 1024**3) + OVERHEAD_BYTES
        plan = self._plan(launch, limit_bytes)
        try:
            child = start_child(
                [str(launch.prepared.python), "-I", "-c", BOOTSTRAP, plan],
                env=self._environment(launch, folder),
                cwd=folder,
                user=launch.slot.user,
                on_death=on_death,
                kept=() if launch.line is None else (launch.line,),
            )
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Running(child, launch.prepared, launch.slot, limit_bytes, [folder])

    def make_folder(self, name: str, slot: Slot) -> Path:
        """Make a private folder that bears a workload's name."""
        folder = self.options.runs_folder / name
        make_private_folder(folder, user=slot.user)
        return folder

    def _plan(self, launch: Launch, limit_bytes: int) -> str:
        limits = {"RLIMIT_DATA": limit_bytes, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": MAX_FILES}
        if launch.slot.user is not None:
            limits["RLIMIT_NPROC"] = MAX_PROCESSES
        packages = self.options.packages
        return json.dumps(
            {
                "parent": os.getpid(),
                "limits": limits,
                "nice": NICE,
                "first": [str(packages.first)],
                "last": [str(packages.last)],
                "module": launch.module,
            }
        )

    def _environment(self, launch: Launch, folder: Path) -> dict[str, str]:
        """Give the whole environment of the process: nothing is inherited."""
        prepared = launch.prepared
        code = {"CROSSFADE_CODE_DIR": str(prepared.code.folder)} if prepared.code else {}
        library_path = self.options.interpreter.library_path
        return {
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **launch.env,
            RUNNER_ID: launch.name,  # by which leftovers are found
            "PATH": f"{prepared.python.parent}:{SYSTEM_PATH}",
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": ":".join([str(self.options.packages.first), *code.values()]),
            **code,
            **({"LD_LIBRARY_PATH": library_path} if library_path else {}),
        }


def make_private_folder(folder: Path, *, user: User | None) -> None:
    """Make a workload's folder, with its `tmp`; only its user may enter."""
    shutil.rmtree(folder, ignore_errors=True)
    for made in (folder, folder / "tmp"):
        made.mkdir(mode=0o700)
        if user is not None:
            os.chown(made, user.uid, user.gid)
