"""An entitlements service on a real socket that answers as it is told to, and counts who asks.

It speaks the contract of `docs/entitlements.md`. `modes` holds how the next questions are answered,
in order, `mode` how all others are:

* `answer`: what it knows, 404 for an organization it does not know;
* `hang`: nothing until `release` is set, then as `answer`; `drip`: a body that comes in drops and does not end;
* `drop`: the line is cut; a status: that status; bytes: 200 with this body.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote

TOKEN = "entitlements-token-of-the-tests"
HANG_S = 20.0
DROP_S = 0.02

Mode = str | int | bytes


class EntitlementsService:
    """The service's side of the contract."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}  # organization id -> what is said of it
        self.mode: Mode = "answer"
        self.modes: list[Mode] = []
        self.asked: list[str] = []  # organization ids, in order
        self.most_at_once = 0
        self.release = threading.Event()
        self._at_once = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Give the address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/billing"

    def say(self, organization_id: str, *, plan: str | None = None, access: bool = True) -> None:
        """Know this of an organization from now on."""
        said: dict[str, Any] = {"hasAccess": access}
        if plan is not None:
            said["plan"] = {"type": plan}
        self.known[organization_id] = said

    def close(self) -> None:
        """Stop listening."""
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def begin(self, organization_id: str) -> Mode:
        """Count a question and give how it is answered."""
        with self._lock:
            self.asked.append(organization_id)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.modes.pop(0) if self.modes else self.mode

    def end(self) -> None:
        """Count that a question was answered."""
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers who hang up."""


class _Handler(BaseHTTPRequestHandler):
    service: ClassVar[EntitlementsService]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a question."""
        organization_id = unquote(self.path.removeprefix("/billing/orgs/"))
        mode = self.service.begin(organization_id)
        try:
            self._answer(organization_id, mode)
        finally:
            self.service.end()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""

    def _answer(self, organization_id: str, mode: Mode) -> None:
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._send(401, b"{}")
        elif isinstance(mode, int):
            self._send(mode, b"<html>")
        elif isinstance(mode, bytes):
            self._send(200, mode)
        elif mode == "answer" or (mode == "hang" and self.service.release.wait(HANG_S)):
            self._say(organization_id)
        else:
            self._never(mode)

    def _say(self, organization_id: str) -> None:
        """Say what is known; whoever asked may have gone."""
        said = self.service.known.get(organization_id)
        if said is None:
            self._send(404, b"{}")
        else:
            self._send(200, json.dumps(said).encode())

    def _never(self, mode: str) -> None:
        self.close_connection = True
        if mode == "drip":
            self.send_response(200)
            self.end_headers()
            until_s = time.monotonic() + HANG_S
            with contextlib.suppress(OSError):
                while time.monotonic() < until_s and not self.service.release.wait(DROP_S):
                    self.wfile.write(b" ")

    def _send(self, status: int, body: bytes) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
