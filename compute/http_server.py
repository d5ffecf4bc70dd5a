"""Small HTTP servers on the event loop of a process that keeps the signals to itself."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

CLOSE_S = 2  # what open requests get when the server stops


class _Quiet(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One application on one port. The port is taken when the object is made."""

    def __init__(self, app: Starlette, *, host: str, port: int) -> None:
        """Listen; raises `OSError` when the port is taken. Port 0 takes a free one."""
        self._socket = socket.create_server((host, port), backlog=256)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            loop="none",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=CLOSE_S,
        )
        self._server = _Quiet(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve in a task of its own."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Close the port, and the connections that are still open after a moment."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()
