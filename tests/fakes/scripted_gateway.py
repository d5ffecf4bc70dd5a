"""A small gateway in memory that answers as it is told to: the wire's many ways to fail.

Without a script it behaves as `docs/gateway-api.md` says, and passes the same contract tests as the
real one. `script` holds what happens to the next creates, in order:

* a status: the create is refused with it, and nothing is made;
* `drop`: the line is cut and nothing is made; `commit-drop`: cut after the instance was made;
* `hang`: no answer, until `release` is set; `garbage`: 201 and no JSON; `empty`: 204;
* `null`: 201 and JSON of another shape.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote

TOKEN = "gateway-token-of-the-tests"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat()
HANG_S = 20.0
RAW: dict[str, tuple[int, bytes]] = {
    "garbage": (201, b"<html>"),
    "empty": (204, b""),
    "null": (201, b'{"id": null}'),
}


class ScriptedGateway:
    """The gateway's side of the API."""

    def __init__(self, *, base: str = "") -> None:
        self.base = base  # a path before `/api`
        self.script: list[int | str] = []
        self.list_status = 200
        self.instances: dict[str, dict[str, Any]] = {}
        self.request_ids: dict[str, str] = {}
        self.creates: list[tuple[dict[str, Any], dict[str, str]]] = []  # body, headers
        self.lists = 0
        self.deleted: list[str] = []
        self.paths: list[str] = []
        self.idempotent = True  # a repeat of a create is recognised by its request id
        self.release = threading.Event()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"gateway": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Give the address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.base}"

    def close(self) -> None:
        """Stop listening."""
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def end(self, name: str, **ending: Any) -> None:
        """Let an instance exit."""
        with self._lock:
            self.instances[name] |= {"status": "exited", **ending}

    def forget(self, name: str) -> None:
        """Lose an instance without a trace."""
        with self._lock:
            del self.instances[name]

    def add(self, name: str, **fields: Any) -> None:
        """Have an instance that nobody here has created."""
        self.instances[name] = {
            "id": name, "name": name, "image": "builtin/idle", "status": "running",
            "createdAt": NOW, "labels": {}, "metadata": {}, **fields,
        }  # fmt: skip

    # -- the wire -------------------------------------------------------------------------------

    def answer(
        self, method: str, path: str, headers: dict[str, str], raw: bytes
    ) -> tuple[int, bytes] | None:
        """Give status and body, or None to cut the line."""
        self.paths.append(path)
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return _json(401, {"error": "Invalid or missing gateway token"})
        place = path.removeprefix(f"{self.base}/api/instances")
        if method == "POST":
            return self._create(json.loads(raw), headers)
        name = unquote(place.removeprefix("/"))
        with self._lock:
            if method == "GET" and not name:
                self.lists += 1
                return _json(self.list_status, {"data": list(self.instances.values())})
            if name not in self.instances:
                return _json(404, {"error": "there is no such instance"})
            if method == "DELETE":
                self.deleted.append(name)
                del self.instances[name]
                return 204, b""
            return _json(200, self.instances[name])

    def _create(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, bytes] | None:
        with self._lock:
            self.creates.append((body, headers))
            step = self.script.pop(0) if self.script else ""
            if isinstance(step, int):
                return _json(step, {"error": f"scripted {step}"})
            if step in RAW:
                return RAW[step]
            made = None if step in {"drop", "hang"} else self._made(body, headers)
        if step == "hang":
            self.release.wait(HANG_S)
        return made if step == "" else None

    def _made(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, bytes]:
        name, request_id = body["name"], headers.get("x-request-id", "")
        if name in self.instances:
            same = self.idempotent and request_id and request_id == self.request_ids.get(name)
            return _json(200, self.instances[name]) if same else _json(409, {"error": "taken"})
        kept = {key: body.get(key) or {} for key in ("labels", "metadata")}
        self.add(name, image=body["image"], **kept)
        self.request_ids[name] = request_id
        return _json(201, {"id": name})


def _json(status: int, body: Any) -> tuple[int, bytes]:
    return status, json.dumps(body).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: callers that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    gateway: ClassVar[ScriptedGateway]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.gateway.answer(self.command, self.path, headers, raw)
        self.close_connection = answer is None
        if answer is None:
            return
        status, data = answer
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
