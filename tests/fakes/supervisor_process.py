"""A real supervisor process for tests, beside a fake platform, with code made on the spot."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers import POLL_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.worker_platform import FakePlatform

REPOSITORY = Path(__file__).resolve().parents[2]
RUNNER_PACKAGE = Path(__file__).resolve().parent / "runner_package"
SECRET = "managed-secret-of-the-tests"
PATIENCE_S = 60.0
TOKEN_SECRET = "token-secret-of-the-tests-which-is-long"


def eventually(holds: Callable[[], bool], *, what: str = "", every_s: float = POLL_S) -> None:
    """Wait for a condition; real processes on a busy machine may need long."""
    wait_until(holds, timeout_s=PATIENCE_S, what=what, every_s=every_s)


def make_artifact(files: dict[str, str]) -> bytes:
    """Give a gzipped tar with these files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


@dataclass
class SupervisorProcess:
    """`python -m supervisor` with an environment of its own."""

    platform: FakePlatform
    state_dir: Path
    shared_dir: Path
    uid_base: int
    log_file: Path
    extra: dict[str, str] = field(default_factory=dict)
    packages: Path = RUNNER_PACKAGE  # where workloads get the package `crossfade` from
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it serves."""
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor"],
                env=self.environment(),
                cwd=self.shared_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if ready:
            eventually(lambda: bool(self.events("supervisor.started")))

    def environment(self) -> dict[str, str]:
        """Give everything the process sees."""
        return {
            "PATH": os.environ["PATH"],  # noqa: TID251
            "HOME": os.environ["HOME"],  # noqa: TID251
            "PYTHONPATH": f"{self.packages}:{REPOSITORY}",
            "SECRET_OF_THE_SUPERVISOR": "never shown to a workload",
            "TRIGGER_API_URL": self.platform.url,
            "TRIGGER_WORKER_TOKEN": ",".join(self.platform.groups),
            "MANAGED_WORKER_SECRET": SECRET,
            "TRIGGER_WORKER_INSTANCE_NAME": "test-supervisor",
            "TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS": "0.2",
            "TRIGGER_WORKLOAD_API_HOST_INTERNAL": "127.0.0.1",
            "TRIGGER_WORKLOAD_API_PORT_INTERNAL": "0",
            "TRIGGER_DEQUEUE_IDLE_INTERVAL_MS": "100",
            "WORKLOAD_TOKEN_SECRET": TOKEN_SECRET,
            "WORKLOAD_TOKEN_ENFORCEMENT": "enforce",
            "METRICS_ENABLED": "false",
            "CROSSFADE_SUPERVISOR_DIR": str(self.state_dir),
            "CROSSFADE_SHARED_DIR": str(self.shared_dir),
            "CROSSFADE_WORKLOAD_UID_BASE": str(self.uid_base),
            "CROSSFADE_DRAIN_TIMEOUT_SECONDS": "5",
            **self.extra,
        }

    @property
    def pid(self) -> int:
        """Give the process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def port(self) -> int:
        """Give the port of the workload API."""
        return int(self.events("supervisor.started")[-1]["port"])

    @property
    def workspace(self) -> Path:
        """Give the folder it works in."""
        return Path(self.events("workloads.prepared")[-1]["workspace"])

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give the log lines of an event so far."""
        lines = self.log_file.read_bytes().split(b"\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [line for line in found if line["event"] == name]

    @property
    def log_text(self) -> str:
        """Give everything it wrote."""
        return self.log_file.read_text()

    def kill(self) -> None:
        """Kill it without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, *, timeout_s: float = PATIENCE_S) -> int:
        """Ask it to end, and give its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
