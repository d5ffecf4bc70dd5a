"""A real gateway process for tests, beside a fake platform."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from tests.calling import request
from tests.fakes.scripted_gateway import TOKEN
from tests.fakes.supervisor_process import (
    PATIENCE_S,
    REPOSITORY,
    RUNNER_PACKAGE,
    SECRET,
    eventually,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.worker_platform import FakePlatform

AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


def wanted(name: str, **fields: Any) -> dict[str, Any]:
    """Give the request for an idle instance."""
    return {"name": name, "image": "builtin/idle", "cpu": 0.25, "memory_gb": 0.25, **fields}


@dataclass
class GatewayProcess:
    """`python -m compute.gateway` with an environment of its own."""

    platform: FakePlatform
    state_dir: Path
    shared_dir: Path
    uid_base: int
    log_file: Path
    port: int = 0
    extra: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it serves; the port stays the same from then on."""
        before = len(self.events("gateway.started"))
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "compute.gateway"],
                env=self.environment(),
                cwd=self.shared_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if not ready:
            return
        eventually(lambda: len(self.events("gateway.started")) > before, what="the gateway")
        self.port = int(self.events("gateway.started")[-1]["port"])

    def environment(self) -> dict[str, str]:
        """Give everything the process sees."""
        return {
            "PATH": os.environ["PATH"],  # noqa: TID251
            "HOME": os.environ["HOME"],  # noqa: TID251
            "PYTHONPATH": f"{RUNNER_PACKAGE}:{REPOSITORY}",
            "SECRET_OF_THE_GATEWAY": "never shown to a workload",
            "TRIGGER_API_URL": self.platform.url,
            "MANAGED_WORKER_SECRET": SECRET,
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_AUTH_TOKEN": TOKEN,
            "GATEWAY_DIR": str(self.state_dir),
            "CROSSFADE_SHARED_DIR": str(self.shared_dir),
            "CROSSFADE_WORKLOAD_UID_BASE": str(self.uid_base),
            **self.extra,
        }

    @property
    def pid(self) -> int:
        """Give the process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def url(self) -> str:
        """Give the address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_text(self) -> str:
        """Give everything it wrote."""
        return self.log_file.read_text()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request with the token."""
        headers = {**AUTHORIZED, **options.pop("headers", {})}
        return request(method, f"{self.url}{path}", headers=headers, **options)

    def create(self, name: str, *, request_id: str = "", **fields: Any) -> httpx.Response:
        """Ask for an instance, an idle one unless said otherwise."""
        headers = {"x-request-id": request_id} if request_id else {}
        return self.call("POST", "/api/instances", json=wanted(name, **fields), headers=headers)

    def listed(self) -> dict[str, dict[str, Any]]:
        """Give every instance by name."""
        answer = self.call("GET", "/api/instances")
        return {one["name"]: one for one in answer.json()["data"]}

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give the log lines of an event so far."""
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_bytes().split(b"\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [line for line in found if line["event"] == name]

    def kill(self) -> None:
        """Kill it without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
