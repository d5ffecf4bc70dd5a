"""Runs the real runner in a process of its own, against the fake workload API."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fake_workload_api import FakeRun, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = "import asyncio, logging, os, sys, threading, time\nfrom crossfade import *\n"


@dataclass(frozen=True)
class Ended:
    """How a runner's process ended."""

    code: int
    stderr: str


def write_task(folder: Path, source: str, name: str = "tasks.py") -> None:
    """Write a tasks file; its usual imports are added."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(IMPORTS + textwrap.dedent(source), "utf-8")


@contextmanager
def runner(run: FakeRun, code_dir: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Start a runner for a fake run; it is gone when the block ends."""
    with serving(run) as port:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "crossfade.runner"],
            env=_environment(port, code_dir) | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def execute(run: FakeRun, code_dir: Path, source: str, **env: str) -> Ended:
    """Execute a run to the end of its runner."""
    write_task(code_dir, source, run.file_path)
    with runner(run, code_dir, **env) as process:
        return finish(process)


def finish(process: subprocess.Popen[str], timeout_s: float = 30) -> Ended:
    """Wait for a runner's end."""
    _, stderr = process.communicate(timeout=timeout_s)
    return Ended(process.returncode, stderr)


def _environment(port: int, code_dir: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],  # noqa: TID251
        "PYTHONPATH": str(ROOT),
        "TRIGGER_RUN_ID": "run_1",
        "TRIGGER_SNAPSHOT_ID": "snapshot_0001",
        "TRIGGER_RUNNER_ID": "runner-1",
        "TRIGGER_DEPLOYMENT_ID": "token",
        "TRIGGER_DEPLOYMENT_VERSION": "20261122.1",
        "TRIGGER_PROJECT_REF": "proj_abc",
        "TRIGGER_SUPERVISOR_API_PROTOCOL": "http",
        "TRIGGER_SUPERVISOR_API_DOMAIN": "127.0.0.1",
        "TRIGGER_SUPERVISOR_API_PORT": str(port),
        "TRIGGER_HEARTBEAT_INTERVAL_SECONDS": "0.1",
        "TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS": "0.1",
        "CROSSFADE_CODE_DIR": str(code_dir),
        "CROSSFADE_CANCEL_GRACE_SECONDS": "0.5",
    }
