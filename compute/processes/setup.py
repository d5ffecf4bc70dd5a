"""Puts a process pool together: its folders, its Python, its users."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from compute.processes.artifacts import Artifacts
from compute.processes.environments import Environments, find_installer
from compute.processes.interpreter import is_reachable, prepare_interpreter, prepare_packages
from compute.processes.known_templates import KnownTemplates
from compute.processes.launch import PoolOptions
from compute.processes.leftovers import clear_leftovers, lock_folder
from compute.processes.pool import ProcessPool
from compute.processes.preparing import Preparing
from compute.processes.slots import Slots
from compute.processes.values import RUNNER_MODULE
from compute.processes.warm import WarmLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from compute.processes.interpreter import Interpreter
    from compute.processes.values import Exited

NOTHING_WARM = WarmLimits()

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """What the operator chooses about processes."""

    owner: str  # names the folder of this pool when it is outside `state_dir`
    state_dir: Path  # code, environments, folders of runs
    shared_dir: Path  # as root, what other users must be able to reach
    users: bool  # as root, a user of its own for each process
    uid_base: int  # first of their user ids
    count: int  # processes at once
    artifact_cache_mb: int  # unpacked code kept at most
    installer_env: Mapping[str, str]  # what installing requirements may see of the environment
    warm: WarmLimits = NOTHING_WARM  # what templates may keep ready, beside `count`


def workspace_for(settings: PoolSettings, *, separate: bool) -> Path:
    """Give the folder processes are started from: the state folder, if their users can reach it."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    if not separate or is_reachable(settings.state_dir):
        return settings.state_dir
    name = hashlib.sha256(str(settings.state_dir).encode()).hexdigest()[:12]
    return settings.shared_dir / f"{settings.owner}-{name}"


def make_process_pool(
    settings: PoolSettings,
    *,
    on_exit: Callable[[Exited], None],
    runner_module: str = RUNNER_MODULE,
    on_warm: Callable[[int], None] = lambda _count: None,
) -> ProcessPool:
    """Prepare everything processes need and clear what an earlier owner of the folder left.

    `on_warm` is told how many processes are ready for a run of a template. Raises `FolderInUse`
    when another process works in the same folder.
    """
    began = perf_counter()
    separate = os.geteuid() == 0 and settings.users
    workspace = workspace_for(settings, separate=separate)
    shared = settings.shared_dir if separate else workspace
    for folder in (shared, workspace):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock_folder(workspace)
    cleared = clear_leftovers(workspace / "runs")
    interpreter = prepare_interpreter(shared, everybody=separate)
    packages = prepare_packages(shared)
    pool = ProcessPool(
        PoolOptions(
            runs_folder=workspace / "runs",
            interpreter=interpreter,
            packages=packages,
            runner_module=runner_module,
        ),
        preparing=_preparing(settings, workspace, interpreter, separate=separate),
        known=KnownTemplates(workspace / "templates.json"),
        warm=settings.warm,
        on_exit=on_exit,
        on_warm=on_warm,
    )
    log.info(
        "workloads.prepared",
        workspace=str(workspace),
        python=str(interpreter.executable),
        cleared=cleared,
        seconds=round(perf_counter() - began, 3),
    )
    return pool


def _preparing(
    settings: PoolSettings, workspace: Path, interpreter: Interpreter, *, separate: bool
) -> Preparing:
    return Preparing(
        artifacts=Artifacts(workspace, max_bytes=settings.artifact_cache_mb * 1024**2),
        environments=Environments(
            workspace / "environments", interpreter, find_installer(settings.installer_env)
        ),
        slots=Slots(
            uid_base=settings.uid_base if separate else None,
            count=settings.count + settings.warm.count,
            folder=settings.shared_dir / "users",
        ),
    )
