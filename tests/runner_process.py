"""Runs the real runner in a process of its own, against the fake workload API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


class WarmRunner:
    """A runner that was started before its run, and the line over which it gets its orders."""

    def __init__(self, code_dir: Path, **env: str) -> None:
        self.line, theirs = socket.socketpair()
        self.line.settimeout(30)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "crossfade.runner.warm"],
                env={
                    "PATH": os.environ["PATH"],  # noqa: TID251
                    "PYTHONPATH": str(ROOT),
                    "CROSSFADE_CODE_DIR": str(code_dir),
                    "CROSSFADE_ORDERS_FD": str(theirs.fileno()),
                    **env,
                },
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def said(self) -> dict[str, Any]:
        """Give what it says of itself once it is prepared."""
        with self.line.makefile("r", encoding="utf-8") as lines:
            return dict(json.loads(lines.readline()))

    def obey(self, port: int, code_dir: Path, **env: str) -> None:
        """Send the orders of a run, and wait until they are taken."""
        self.line.sendall(json.dumps({"env": _environment(port, code_dir) | env}).encode())
        self.line.shutdown(socket.SHUT_WR)
        assert self.line.recv(100) == b"taken\n"

    def close(self) -> None:
        """End it."""
        self.line.close()
        self.process.kill()
        self.process.communicate()


@contextmanager
def warmed(code_dir: Path, source: str, **env: str) -> Iterator[WarmRunner]:
    """Start a runner that imports a tasks file and waits; it is gone when the block ends."""
    write_task(code_dir, source)
    warm = WarmRunner(code_dir, **env)
    try:
        yield warm
    finally:
        warm.close()


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
        "CROSSFADE_CODE_DIR": str(code_dir),
        **runner_variables(port),
    }


def runner_variables(port: int) -> dict[str, str]:
    """Give what a supervisor tells the runner of the fake run."""
    return {
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
        "CROSSFADE_CANCEL_GRACE_SECONDS": "0.5",
    }
