"""Somebody who hears callbacks and answers as told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class CallbackListener:
    """Answers each POST with the next of `statuses`, 204 when there is none left."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []  # as they came; `heard` has those that are JSON
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        handler = type("Handler", (_Handler,), {"listener": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Give where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/heard?by=tests"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    listener: ClassVar[CallbackListener]

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.listener.headers.append({k.lower(): v for k, v in self.headers.items()})
        status = self.listener.statuses.pop(0) if self.listener.statuses else 204
        self.listener.paths.append(self.path)
        self.listener.bodies.append(raw)
        if self.headers.get("content-type", "").startswith("application/json"):
            self.listener.heard.append(json.loads(raw))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
