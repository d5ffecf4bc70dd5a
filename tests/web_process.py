"""The web process as it is run, and a door between it and its database that can be shut."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import httpx
from django.db import connection

from tests.servers import wait_until
from webapp.embedded.ports import any_free_port

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 65_536


class Door:
    """Forwards a port to another while it is open; shutting it cuts every connection."""

    def __init__(self, port: int) -> None:
        """Open towards this port of the machine."""
        self._target = port
        self._lock = threading.Lock()
        self._passing: set[socket.socket] = set()
        self.port = any_free_port()
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Let connections in."""
        listener = socket.create_server(("127.0.0.1", self.port))
        with self._lock:
            self._listener = listener
        threading.Thread(target=self._admit, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections and cut those there are."""
        with self._lock:
            listener, self._listener = self._listener, None
            passing = list(self._passing)
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in passing:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _admit(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:  # shut while this one was on the doorstep
                    client.close()
                    server.close()
                    return
                self._passing |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._passing -= {source}
        source.close()


def database_of_test(postgres_url: str, *, port: int | None = None) -> str:
    """Give the address of this test's database, perhaps through another port."""
    parts = urlsplit(postgres_url)
    login, _, address = parts.netloc.rpartition("@")
    host, _, own_port = address.partition(":")
    netloc = f"{login}@{host}:{port or own_port}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{connection.settings_dict['NAME']}"))


@contextlib.contextmanager
def web_process(
    database_url: str, log_file: Path, **extra: str
) -> Generator[httpx.Client, None, None]:
    """Run the web process on a free port and give a client of it once it is ready.

    `extra` are more variables of its environment.
    """
    port = any_free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--blocking-threads", "8", "--no-ws"]
    environment = os.environ | {  # noqa: TID251 - the edge of the test
        "DATABASE_URL": database_url,
        "CROSSFADE_PROCESS": "web",
        "RUN_ENGINE_DEQUEUE_BLOCKING_TIMEOUT_SECONDS": "0",
        "CROSSFADE_DATABASE_POOL_TIMEOUT_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
        **extra,
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "webapp.wsgi:application"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until(lambda: _is_ready(client), timeout_s=60, what=str(log_file))
            yield client
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False
