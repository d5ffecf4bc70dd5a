"""A small stateful workload API for one run: what a supervisor and the platform answer a runner.

It checks every body with the wire models of `runs/contracts.py`, keeps the run's snapshots, refuses
stale ones with 409, and repeats its answer to a repeated idempotency key. Faults are scripted.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from runs.contracts import CompleteAttempt, LogBatch, RunHeartbeat, StartAttempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Fault = Literal["lose_request", "lose_answer", "500", "503", "409", "413", "garbage"]
PREFIX = "/api/v1/workload-actions"
_NOW = "2026-11-22T12:00:00.000Z"


@dataclass
class FakeRun:
    """The run as the platform keeps it, and everything the runner sent."""

    file_path: str = "tasks.py"
    export_name: str = "main"
    payload: Any = None
    payload_type: str = "application/json"
    run_extra: dict[str, Any] = field(default_factory=dict)
    env_vars: dict[str, str] = field(default_factory=dict)
    snapshots: list[tuple[str, str, int | None]] = field(
        default_factory=lambda: [("snapshot_0001", "PENDING_EXECUTING", None)]
    )
    attempt: int = 0
    retry_through_queue_ms: float = 30_000
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    completions: list[dict[str, Any]] = field(default_factory=list)
    starts: list[bool] = field(default_factory=list)
    lines: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    started: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def move(self, status: str, attempt: int | None = None) -> str:
        """Make the run's next snapshot."""
        with self.lock:
            snapshot_id = f"snapshot_{len(self.snapshots) + 1:04d}"
            self.snapshots.append((snapshot_id, status, attempt or self.attempt or None))
            return snapshot_id

    def texts(self, attempt: int = 1, stream: str | None = None) -> list[str]:
        """Give the lines of an attempt in their order."""
        with self.lock:
            found = sorted((k, v) for k, v in self.lines.items() if k[0] == attempt)
        return [v["text"] for _, v in found if stream in {None, v["stream"]}]

    def until(self, condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            pause.wait(0.01)

    # -- routes -----------------------------------------------------------------------------------

    def start(self, snapshot_id: str, body: Any) -> tuple[int, dict[str, Any]]:
        warm = StartAttempt.model_validate(body).isWarmStart
        last = (
            self.headers[-1] if self.headers else {}
        )  # dev sessions ask another fake, which keeps none
        asked = (snapshot_id, last.get("x-trigger-workload-runner-id", ""))
        if asked in self.started:
            return 200, self.started[asked]
        if snapshot_id != self.snapshots[-1][0]:
            return 409, {"error": "the snapshot is stale"}
        self.starts.append(warm)
        self.attempt += 1
        self.move("EXECUTING", self.attempt)
        self.started[asked] = {
            "run": self._run_ref(),
            "snapshot": self._snapshot(-1),
            "execution": self._execution(),
            "envVars": self.env_vars,
        }
        return 200, self.started[asked]

    def complete(self, snapshot_id: str, body: Any) -> tuple[int, dict[str, Any]]:
        completion = CompleteAttempt.model_validate(body).completion
        if snapshot_id != self.snapshots[-1][0]:
            return 409, {"error": "the snapshot is stale"}
        self.completions.append(body["completion"])
        retry = None if completion.ok else completion.retry
        if retry is None or self.snapshots[-1][1] == "PENDING_CANCEL":
            status, snapshot_status = "RUN_FINISHED", "FINISHED"
        elif retry.delay >= self.retry_through_queue_ms:
            status, snapshot_status = "RETRY_QUEUED", "QUEUED"
        else:
            status, snapshot_status = "RETRY_IMMEDIATELY", "EXECUTING"
        self.move(snapshot_status, self.attempt)
        result = {"attemptStatus": status, "run": self._run_ref(), "snapshot": self._snapshot(-1)}
        return 200, {"result": result}

    def heartbeat(self, snapshot_id: str, body: Any) -> tuple[int, dict[str, Any]]:
        RunHeartbeat.model_validate(body)
        return 200, {"ok": True}

    def logs(self, body: Any) -> tuple[int, dict[str, Any]]:
        batch = LogBatch.model_validate(body)
        for sent, line in zip(body["lines"], batch.lines, strict=True):
            self.lines[(batch.attempt, line.seq)] = sent
        return 200, {"ok": True}

    def since(self, snapshot_id: str) -> tuple[int, dict[str, Any]]:
        newer = [i for i, item in enumerate(self.snapshots) if item[0] > snapshot_id]
        return 200, {
            "snapshots": [
                {
                    "version": "1",
                    "snapshot": self._snapshot(i),
                    "run": {**self._run_ref(), "attemptNumber": self.snapshots[i][2]},
                    "completedWaitpoints": [],
                }
                for i in newer
            ]
        }

    def _run_ref(self) -> dict[str, Any]:
        return {"id": "1", "friendlyId": "run_1", "status": "EXECUTING"}

    def _snapshot(self, index: int) -> dict[str, Any]:
        snapshot_id, status, _ = self.snapshots[index]
        return {
            "id": snapshot_id.removeprefix("snapshot_"),
            "friendlyId": snapshot_id,
            "executionStatus": status,
            "description": status,
            "createdAt": _NOW,
        }

    def _execution(self) -> dict[str, Any]:
        return {
            "attempt": {"number": self.attempt, "startedAt": _NOW},
            "run": {
                "id": "run_1",
                "payload": self.payload,
                "payloadType": self.payload_type,
                "createdAt": _NOW,
                "tags": ["a", "b"],
                "isTest": False,
                "version": "20261122.1",
                **self.run_extra,
            },
            "task": {"id": "main", "filePath": self.file_path, "exportName": self.export_name},
            "queue": {"id": "queue_1", "name": "task/main"},
            "environment": {"id": "env_1", "type": "PRODUCTION", "slug": "prod"},
            "organization": {"id": "org_1", "slug": "acme", "name": "Acme"},
            "project": {"id": "proj_1", "ref": "proj_abc", "slug": "p", "name": "P"},
            "machine": {"name": "small-1x", "cpu": 0.5, "memory": 0.5, "centsPerMs": 0},
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    run: FakeRun

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        self._serve(json.loads(data or b"{}"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return

    def _serve(self, body: Any) -> None:
        run, parts = self.run, self.path.removeprefix(PREFIX).strip("/").split("/")
        name = parts[-1] if "since" not in parts else "since"
        with run.lock:
            run.calls[name] += 1
            run.headers.append({k.lower(): v for k, v in self.headers.items()})
            waiting = run.faults.get(name, [])
            fault = waiting.pop(0) if waiting else None
            if fault == "lose_request":
                self.close_connection = True
                return
            if fault in {"500", "503", "409", "413"}:
                self._answer(int(fault), {"error": f"scripted {fault}"})
                return
            status, answer = self._answer_once(name, parts, body)
        if fault == "lose_answer":
            self.close_connection = True
        elif fault == "garbage":
            self.wfile.write(b"not HTTP at all\r\n\r\n")
            self.close_connection = True
        else:
            self._answer(status, answer)

    def _answer_once(self, name: str, parts: list[str], body: Any) -> tuple[int, dict[str, Any]]:
        key = self.headers.get("x-trigger-request-idempotency-key") or ""
        if key in self.run.answers:
            return self.run.answers[key]
        try:
            answer = self._route(name, parts, body)
        except ValidationError as error:
            return 400, {"error": str(error)}
        self.run.answers[key] = answer
        return answer

    def _route(self, name: str, parts: list[str], body: Any) -> tuple[int, dict[str, Any]]:
        run = self.run
        if name == "since":
            return run.since(parts[-1])
        if name == "logs":
            return run.logs(body)
        handlers = {"start": run.start, "complete": run.complete, "heartbeat": run.heartbeat}
        return handlers[name](parts[3], body)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        if status == 409:
            self.send_header("x-should-retry", "false")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(run: FakeRun) -> Iterator[int]:
    """Serve the workload API of a run on a free loopback port; gives the port."""
    handler = type("Handler", (_Handler,), {"run": run})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
