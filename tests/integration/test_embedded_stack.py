"""The whole embedded stack, as a person starts, uses, disturbs and stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.embedded_programs import is_alive
from tests.servers import wait_until
from webapp.embedded.ports import GREATEST_DISTANCE, LOOPBACK, is_free
from webapp.embedded.probes import answers_ok

if TYPE_CHECKING:
    from collections.abc import Generator

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 180.0
STOP_S = 60.0
ROOM = GREATEST_DISTANCE + 1  # ports a stack may use
PROCESSES = (
    "web", "worker", "beat", "supervisor-container", "supervisor-compute", "gateway", "postgres",
    "valkey",
)  # fmt: skip
HANDED_ON = ("PATH", "HOME", "LANG", "UV_", "PIP_", "SSL_", "HTTP", "NO_PROXY", "ALL_PROXY")
CALLER = {
    name: value
    for name, value in os.environ.items()  # noqa: TID251 - what a person's shell has
    if name.upper().startswith(HANDED_ON)
}


@dataclass(frozen=True)
class Stack:
    """A stack on a folder and a port of its own."""

    state: Path
    port: int

    @property
    def url(self) -> str:
        """Where its web process listens."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the person who starts it has set."""
        return {**CALLER, "PORT": str(self.port), "CROSSFADE_VAR": str(self.state)}

    def pids(self) -> dict[str, int]:
        """Give the main processes by name, as their pid files name them."""
        run = self.state / "run"
        return {name: int((run / f"{name}.pid").read_text()) for name in PROCESSES}

    def shell(self, command: str) -> str:
        """Give what a command prints in a shell that has sourced dev.env."""
        script = f". '{self.state}/dev.env'; {command}"
        environment = {**CALLER, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=REPOSITORY,
            timeout=120,
        )
        return done.stdout

    def finished_run(self, name: str) -> dict[str, Any]:
        """Trigger hello-world and wait for its end."""
        payload = json.dumps({"name": name})
        command = f"python -m crossfade trigger hello-world --payload '{payload}' --wait"
        run: dict[str, Any] = json.loads(self.shell(command))
        return run


@contextmanager
def started(stack: Stack) -> Generator[subprocess.Popen[str], None, None]:
    """Start the stack, wait until it is ready, and stop it if the test did not."""
    log = stack.state.parent / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "webapp.embedded", "run"],
            env=stack.environment,
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
            text=True,
        )
    try:
        wait_until(
            lambda: f"ready {stack.url}\n" in log.read_text() or process.poll() is not None,
            timeout_s=START_S,
        )
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(timeout=STOP_S)
        _command(stack, "stop")


def _command(stack: Stack, name: str) -> None:
    command = [sys.executable, "-m", "webapp.embedded", name]
    subprocess.run(command, env=stack.environment, cwd=REPOSITORY, check=True, timeout=STOP_S)


def _kill(pids: dict[str, int]) -> None:
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)


def test_stack_is_used_disturbed_stopped_and_used_again(tmp_path: Path) -> None:
    """From nothing to a finished run; after any process is killed; and after the stack itself is."""
    stack = Stack(tmp_path / "var", _free_port_with_room())
    with started(stack) as process:
        assert (stack.state / "dev.env").stat().st_mode & 0o777 == 0o600
        first = stack.finished_run("Ada")
        assert (first["status"], first["region"]) == ("COMPLETED", "us-east-1")

        killed = stack.pids()
        _kill(killed)
        wait_until(lambda: not set(stack.pids().items()) & set(killed.items()), timeout_s=2)
        wait_until(lambda: answers_ok(f"{stack.url}/readyz"), timeout_s=60)
        assert stack.finished_run("after the kill")["status"] == "COMPLETED"

        running = stack.pids()
        process.kill()  # the runner itself
        process.wait(timeout=STOP_S)
        wait_until(lambda: not any(map(is_alive, running.values())), timeout_s=20)

    with started(stack) as process:
        assert (
            json.loads(stack.shell(f"python -m crossfade runs get {first['id']}"))["id"]
            == first["id"]
        )
        running = stack.pids()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=STOP_S) == 0
        assert not any(map(is_alive, running.values()))
        assert not list((stack.state / "run").glob("*-*.pid"))

    for log in (stack.state / "log").glob("*.log"):
        assert all(json.loads(line) is not None for line in log.read_text().splitlines())
    _command(stack, "clean")
    assert not stack.state.exists()


def _free_port_with_room() -> int:
    """Give a web port all whose neighbours are free, below those that the system hands out."""
    first = os.getpid() * ROOM % 10_000
    bases = (20_000 + (first + step) % 10_000 for step in range(0, 10_000, ROOM))
    return next(base for base in bases if all(map(is_free, range(base, base + ROOM))))
