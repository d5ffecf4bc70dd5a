"""A small gateway in memory that builds templates as it is told to.

`script` holds what happens to the next requests, in order, "" when it is empty:

* "": built; in the background 202, and the answer waits in `callbacks`;
* a status: refused with it; `drop`: the line is cut before anything is built; `commit-drop`: after;
* `garbage`: 200 and no JSON; `null`: JSON of another shape; `none`: no result for any size;
* `hang`: no answer, until `release` is set;
* an object: the error of each size, by its memory in GB as text.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

HANG_S = 20.0
RAW: dict[str, tuple[int, bytes]] = {
    "garbage": (200, b"<html>"),
    "null": (200, b'{"results": 1}'),
    "none": (200, b'{"results": []}'),
}


class TemplateGateway:
    """The gateway's side of `POST /api/templates`."""

    def __init__(self) -> None:
        self.script: list[int | str | dict[str, str]] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.callbacks: list[tuple[str, dict[str, Any]]] = []  # address, body
        self.release = threading.Event()
        self.on_request: list[Any] = []  # called before a request is answered, each once
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"gateway": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Give the address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, bytes] | None:
        """Give status and body, or None to cut the line."""
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            step = self.script.pop(0) if self.script else ""
            hook = self.on_request.pop(0) if self.on_request else None
        if hook is not None:
            hook()
        if isinstance(step, int):
            return step, json.dumps({"error": f"scripted {step}"}).encode()
        if step == "hang":
            self.release.wait(HANG_S)
        if isinstance(step, str) and step not in {"", "commit-drop"}:
            return RAW.get(step)
        return self._built(body, step)

    def _built(self, body: dict[str, Any], step: Any) -> tuple[int, bytes] | None:
        results = [_result(machine, step) for machine in body["machine_configs"]]
        with self._lock:
            self.callbacks.append(
                (body["callback"]["url"], {"image": body["image"], "results": results})
            )
        if step == "commit-drop":
            return None
        if body.get("background"):
            return 202, b""
        return 200, json.dumps({"results": results}).encode()


def _result(machine: dict[str, float], step: Any) -> dict[str, Any]:
    error = step.get(str(machine["memory_gb"])) if isinstance(step, dict) else None
    return {"machine_config": machine, **({"error": error} if error else {})}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: callers that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    gateway: ClassVar[TemplateGateway]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.gateway.answer(json.loads(raw), headers)
        self.close_connection = answer is None
        if answer is None:
            return
        status, data = answer
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
