"""Puts the workload manager `process` together: its folders, its Python, its users."""

from __future__ import annotations

import hashlib
import os
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from supervisor.artifacts import Artifacts
from supervisor.environments import Environments, find_installer
from supervisor.leftovers import clear_leftovers, lock_folder
from supervisor.workloads.interpreter import is_reachable, prepare_interpreter, prepare_packages
from supervisor.workloads.process import RUNNER_MODULE, ProcessManager, ProcessOptions
from supervisor.workloads.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from supervisor.env import Settings
    from supervisor.workloads.base import Exited

log = structlog.get_logger()


def workspace_for(settings: Settings, *, separate: bool) -> Path:
    """Give the folder workloads are started from: the state folder, if their users can reach it."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    if not separate or is_reachable(settings.state_dir):
        return settings.state_dir
    name = hashlib.sha256(str(settings.state_dir).encode()).hexdigest()[:12]
    return settings.shared_dir / f"supervisor-{name}"


def make_process_manager(
    settings: Settings,
    *,
    on_exit: Callable[[Exited], None],
    runner_module: str = RUNNER_MODULE,
) -> ProcessManager:
    """Prepare everything process workloads need and clear what an earlier process left.

    Raises `FolderInUse` when another supervisor works in the same folder.
    """
    began = perf_counter()
    separate = os.geteuid() == 0 and settings.workload_users
    workspace = workspace_for(settings, separate=separate)
    shared = settings.shared_dir if separate else workspace
    for folder in (shared, workspace):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock_folder(workspace)
    cleared = clear_leftovers(workspace / "runs")
    interpreter = prepare_interpreter(shared, everybody=separate)
    packages = prepare_packages(shared)
    manager = ProcessManager(
        ProcessOptions(
            runs_folder=workspace / "runs",
            interpreter=interpreter,
            packages=packages,
            runner_module=runner_module,
        ),
        artifacts=Artifacts(workspace, max_bytes=settings.artifact_cache_mb * 1024**2),
        environments=Environments(
            workspace / "environments", interpreter, find_installer(settings.installer_env)
        ),
        slots=Slots(
            uid_base=settings.uid_base if separate else None,
            count=settings.max_workloads,
            folder=settings.shared_dir / "users",
        ),
        on_exit=on_exit,
    )
    log.info(
        "workloads.prepared",
        workspace=str(workspace),
        python=str(interpreter.executable),
        cleared=cleared,
        seconds=round(perf_counter() - began, 3),
    )
    return manager
