"""What a gateway and its runners need of a platform: one artifact, and one run at a time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import queue
import tarfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

PREFIX = "/api/v1/workload-actions/"
RUN: dict[str, Any] = {"id": "run_1", "friendlyId": "run_1", "status": "EXECUTING"}


def artifact_of(file: Path, name: str, *, mark: str) -> bytes:
    """Give an artifact that holds this file under a name, and a mark that tells it from others."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.add(file, arcname=name)
        marked = tarfile.TarInfo("mark.txt")
        marked.size = len(mark.encode())
        tar.addfile(marked, io.BytesIO(mark.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


class Platform:
    """Serves the artifacts of some images, and every run that is started."""

    def __init__(self, artifacts: Mapping[str, bytes], *, file: str, task: str) -> None:
        self.artifacts = artifacts
        self.completions: queue.Queue[dict[str, Any]] = queue.Queue()
        self._task = {"id": task, "filePath": file, "exportName": task.replace("-", "_")}

    def answer(self, path: str, body: Any) -> dict[str, Any]:
        """Give the answer to a runner's call."""
        if path.endswith("/attempts/start"):
            return {
                "run": RUN,
                "snapshot": _snapshot("snapshot_2", "EXECUTING"),
                "execution": {
                    "attempt": {"number": 1},
                    "run": {"id": "run_1", "payloadType": "application/json"},
                    "task": self._task,
                },
                "envVars": {},
            }
        if path.endswith("/attempts/complete"):
            self.completions.put(body["completion"])
            result = {"attemptStatus": "RUN_FINISHED", "run": RUN}
            return {"result": {**result, "snapshot": _snapshot("snapshot_3", "FINISHED")}}
        return {"snapshots": []} if "/since/" in path else {"ok": True}


@contextmanager
def serving(platform: Platform) -> Generator[int, None, None]:
    """Serve on a free loopback port, and give it."""
    handler = type("Handler", (_Handler,), {"platform": platform})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _snapshot(snapshot_id: str, status: str) -> dict[str, str]:
    return {"id": snapshot_id, "friendlyId": snapshot_id, "executionStatus": status}


class _Handler(BaseHTTPRequestHandler):
    platform: ClassVar[Platform]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/engine/v1/artifacts/"):
            artifact = self.platform.artifacts[unquote(self.path.rpartition("/")[2])]
            digest = hashlib.sha256(artifact).hexdigest()
            self._send(artifact, {"x-artifact-digest": f"sha256:{digest}"})
        else:
            self._send(json.dumps(self.platform.answer(self.path, None)).encode(), {})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        self._send(json.dumps(self.platform.answer(self.path, json.loads(raw))).encode(), {})

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _send(self, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
