"""The product as a person starts it: the whole embedded stack, on a port and folder of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from bench.waiting import Unmeasurable, wait_until
from crossfade import Client
from webapp.embedded.environment import Choices
from webapp.embedded.ports import GREATEST_DISTANCE, LOOPBACK, any_free_port, is_free
from webapp.embedded.stack import clean

READY_S = 300.0
STOP_S = 5.0
TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A running stack."""

    state: Path
    port: int

    @property
    def url(self) -> str:
        """Where its web process listens."""
        return f"http://{LOOPBACK}:{self.port}"

    def variables(self) -> dict[str, str]:
        """Give what its `dev.env` exports."""
        lines = (self.state / "dev.env").read_text().splitlines()
        exports = (shlex.split(line)[1] for line in lines if line.startswith("export "))
        return dict(export.split("=", 1) for export in exports if "=" in export)

    def client(self) -> Client:
        """Give a client of the demo organization's production environment."""
        return Client(self.url, self.variables()["TRIGGER_SECRET_KEY"])

    def process(self, name: str) -> psutil.Process:
        """Give a main process by its pid file."""
        return psutil.Process(int((self.state / "run" / f"{name}.pid").read_text()))

    def processes(self) -> list[psutil.Process]:
        """Give every process of the stack, the one that keeps them running included."""
        keeper = self.process("stack")
        return [keeper, *keeper.children(recursive=True)]


@contextmanager
def started_product(
    command: Sequence[str], repository: Path, folder: Path, choices: Choices
) -> Generator[Product, None, None]:
    """Start the product with its state and log below `folder`; its data is removed in the end.

    Raise `Unmeasurable` when it does not get ready.
    """
    product = Product(state=folder / "var", port=_port_with_room())
    chosen = replace(choices, state_text=str(product.state))
    log = folder / "product.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            cwd=repository,
            env={
                **choices.inherited,
                "PORT": str(product.port),
                "CROSSFADE_VAR": str(product.state),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        ready = f"ready {product.url}\n"
        wait_until(lambda: ready in log.read_text(), process, log, timeout_s=READY_S)
        yield product
    finally:
        clean(chosen)
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Wait for what was started, and make it end when it has not got as far as a stack."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port_with_room() -> int:
    """Give a free port with free ones above it, as many as a stack may use."""
    for _ in range(TRIES):
        port = any_free_port()
        if all(is_free(port + distance) for distance in range(GREATEST_DISTANCE + 1)):
            return port
    raise Unmeasurable("there is no range of free ports")
