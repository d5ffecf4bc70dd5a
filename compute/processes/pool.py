"""Workloads as processes of this machine: for development, one machine, little isolation.

Each run gets a session of its own, an environment made from an allow-list, a private folder that
goes with it, limits on memory, files and processes, and, as root, a user of its own. It dies with
its run and with this process.

Memory is limited by `RLIMIT_DATA`: private writable memory. Address space that is only reserved
(the arenas of the allocator, mapped files, libraries) does not count, as it would under
`RLIMIT_AS`. The limit is the preset's memory plus `OVERHEAD_BYTES`, so that the smallest preset
starts a Python with its threads. It holds per process; processor time is not limited, a workload is
only less important (`NICE`) than this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from compute.processes.artifacts import Artifacts, Code, MissingArtifact, UnavailableArtifact
from compute.processes.child import Child, Death, User, start_child
from compute.processes.environments import EnvironmentFailed, Environments
from compute.processes.leftovers import RUNNER_ID
from compute.processes.memory import is_out_of_memory
from compute.processes.unpack import InvalidArtifact
from compute.processes.values import (
    RUNNER_MODULE,
    ArtifactSource,
    Created,
    Exited,
    Failed,
    ProcessSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from compute.processes.interpreter import Interpreter, Packages
    from compute.processes.slots import Slot, Slots

OVERHEAD_BYTES = 64 * 1024**2
MAX_FILES = 4096
MAX_PROCESSES = 512  # of the workload's own user; without one it would count everybody's
NICE = 5
BOOTSTRAP = (Path(__file__).parent / "bootstrap.py").read_text(encoding="utf-8")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"

log = structlog.get_logger()


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
class _Prepared:
    """What a process is started from."""

    python: Path
    code: Code | None  # pinned until it is released


@dataclass(slots=True)
class _Running:
    child: Child
    slot: Slot
    code: Code | None
    folder: Path
    limit_bytes: int


class ProcessPool:
    """The processes this process has started, by name."""

    def __init__(
        self,
        options: PoolOptions,
        *,
        artifacts: Artifacts,
        environments: Environments,
        slots: Slots,
        on_exit: Callable[[Exited], None],
    ) -> None:
        self.on_exit = on_exit
        self._options = options
        self._artifacts = artifacts
        self._environments = environments
        self._slots = slots
        self._running: dict[str, _Running] = {}
        self._preparing: dict[str, asyncio.Task[_Prepared]] = {}

    async def create(self, spec: ProcessSpec) -> Created | Failed:
        """Fetch what the run needs and start its process."""
        if spec.name in self._running:
            return Created(spec.name)
        prepared = await self._prepared(spec)
        if isinstance(prepared, Failed):
            return prepared
        slot = self._slots.take()
        if slot is None:
            self._release(prepared.code)
            return Failed("no_capacity", "every user id for workloads is in use")
        try:
            self._start(spec, prepared, slot)
        except OSError as error:
            shutil.rmtree(self._options.runs_folder / spec.name, ignore_errors=True)
            self._slots.give_back(slot)
            self._release(prepared.code)
            return Failed("create_failed", f"the process could not be started: {error}")
        return Created(spec.name)

    async def delete(self, name: str) -> None:
        """End a workload: its group is asked first and killed after a grace."""
        running = self._running.get(name)
        if running is not None:
            await running.child.stop(grace_s=self._options.stop_grace_s)

    def list(self) -> list[str]:
        """Give the names of the workloads that run."""
        return list(self._running)

    async def close(self) -> None:
        """End every workload and what is being prepared."""
        for task in self._preparing.values():
            task.cancel()
        await asyncio.gather(*(self.delete(name) for name in self.list()))

    def _release(self, code: Code | None) -> None:
        if code is not None:
            self._artifacts.release(code)

    async def _prepared(self, spec: ProcessSpec) -> _Prepared | Failed:
        """Wait for code and environment a while; what takes longer goes on for the next lease."""
        if spec.code is None:
            return _Prepared(self._options.interpreter.executable, None)
        task = asyncio.create_task(self._prepare(spec.image, spec.code))
        done, _ = await asyncio.wait({task}, timeout=self._options.prepare_wait_s)
        if not done:
            self._preparing[spec.name] = task
            task.add_done_callback(lambda _: self._prepared_late(spec.name))
            return Failed("no_capacity", "the code and its requirements are still being prepared")
        return _failure(task) or task.result()

    def _prepared_late(self, name: str) -> None:
        task = self._preparing.pop(name)
        if task.cancelled():
            return
        failure = _failure(task)
        if failure is None:
            self._release(task.result().code)
        else:
            log.warning("workload.prepare_failed", name=name, message=failure.message)

    async def _prepare(self, image: str, source: ArtifactSource) -> _Prepared:
        code = await self._artifacts.ensure(image, source)
        try:
            return _Prepared(await self._environments.ensure(code.requirements), code)
        except EnvironmentFailed:
            self._artifacts.release(code)
            raise

    def _start(self, spec: ProcessSpec, prepared: _Prepared, slot: Slot) -> None:
        folder = self._options.runs_folder / spec.name
        make_private_folder(folder, user=slot.user)
        limit_bytes = int(spec.memory_gb * 1024**3) + OVERHEAD_BYTES
        child = start_child(
            [str(prepared.python), "-I", "-c", BOOTSTRAP, self._plan(prepared, limit_bytes, slot)],
            env=self._environment(spec, prepared, folder),
            cwd=folder,
            user=slot.user,
            on_death=lambda death: self._ended(spec.name, death),
        )
        self._running[spec.name] = _Running(child, slot, prepared.code, folder, limit_bytes)

    def _plan(self, prepared: _Prepared, limit_bytes: int, slot: Slot) -> str:
        limits = {"RLIMIT_DATA": limit_bytes, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": MAX_FILES}
        if slot.user is not None:
            limits["RLIMIT_NPROC"] = MAX_PROCESSES
        packages = self._options.packages
        return json.dumps(
            {
                "parent": os.getpid(),
                "limits": limits,
                "nice": NICE,
                "first": [str(packages.first)],
                "last": [str(packages.last)],
                "module": self._options.runner_module if prepared.code else None,
            }
        )

    def _environment(self, spec: ProcessSpec, prepared: _Prepared, folder: Path) -> dict[str, str]:
        """Give the whole environment of the process: nothing is inherited."""
        code = {"CROSSFADE_CODE_DIR": str(prepared.code.folder)} if prepared.code else {}
        library_path = self._options.interpreter.library_path
        return {
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **spec.env,
            RUNNER_ID: spec.name,  # by which leftovers are found
            "PATH": f"{prepared.python.parent}:{SYSTEM_PATH}",
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": ":".join([str(self._options.packages.first), *code.values()]),
            **code,
            **({"LD_LIBRARY_PATH": library_path} if library_path else {}),
        }

    def _ended(self, name: str, death: Death) -> None:
        running = self._running.pop(name)
        self._slots.give_back(running.slot)
        self._release(running.code)
        shutil.rmtree(running.folder, ignore_errors=True)
        self.on_exit(
            Exited(
                name=name,
                exit_code=death.exit_code,
                signal=death.signal,
                out_of_memory=is_out_of_memory(
                    clean=death.exit_code == 0,
                    killed=death.signal is not None,
                    peak_rss_bytes=death.peak_rss_bytes,
                    limit_bytes=running.limit_bytes,
                    last_words=death.last_words,
                ),
                last_words=death.last_words,
            )
        )


def make_private_folder(folder: Path, *, user: User | None) -> None:
    """Make a workload's folder, with its `tmp`; only its user may enter."""
    shutil.rmtree(folder, ignore_errors=True)
    for made in (folder, folder / "tmp"):
        made.mkdir(mode=0o700)
        if user is not None:
            os.chown(made, user.uid, user.gid)


def _failure(task: asyncio.Task[_Prepared]) -> Failed | None:
    """Give what went wrong as the reason the platform understands."""
    error = task.exception()
    if error is None:
        return None
    if isinstance(error, MissingArtifact):
        return Failed("no_image", str(error), permanent=True)
    if isinstance(error, InvalidArtifact | EnvironmentFailed | UnavailableArtifact | OSError):
        return Failed("create_failed", str(error) or type(error).__name__)
    raise error
