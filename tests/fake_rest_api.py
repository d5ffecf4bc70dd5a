"""A small stateful REST API: one environment's runs and deployments, as a client sees them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROD_KEY = "tr_prod_" + "a" * 40
DEV_KEY = "tr_dev_" + "b" * 40


@dataclass
class FakePlatform:
    """What the platform knows, and what it was asked."""

    environment_type: str = "PRODUCTION"
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    fault_headers: dict[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses_to_come: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    logs: list[dict[str, Any]] = field(default_factory=list)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    finalize_events: list[tuple[str, dict[str, Any]]] = field(
        default_factory=lambda: [("ping", {}), ("log", {"message": "nearly"}), ("complete", {})]
    )
    streams: list[list[tuple[str, dict[str, Any]]]] = field(default_factory=list)  # said before
    fate: dict[str, Any] = field(default_factory=dict)  # what a deployment is once finalized
    current: str | None = None
    dev_workers: list[dict[str, Any]] = field(default_factory=list)
    dev_queue: list[str] = field(default_factory=list)
    dev_runs: dict[str, Any] = field(default_factory=dict)  # run id -> FakeRun
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)  # ends what a fault holds

    def until(self, condition: Any, *, timeout_s: float = 15) -> None:
        """Wait for a condition; every request looks again."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), "did not come true in time"

    # -- routes: one table each, an answer a line -------------------------------------------------

    def answer(self, method: str, parts: list[str], body: Any, query: dict[str, str]) -> Any:  # noqa: PLR0911
        match (method, *parts):
            case ("POST", "api", "v1", "tasks", task, "trigger"):
                return self._trigger(unquote(task), body)
            case ("GET", "api", "v3", "runs", run_id):
                return self._retrieve(run_id)
            case ("GET", "api", "v1", "runs"):
                return self._list(query)
            case ("GET", "api", "v1", "runs", _, "logs"):
                return 200, {"data": self.logs, "pagination": {}}
            case ("POST", "api", "v2", "runs", run_id, "cancel"):
                return self._cancel(run_id)
            case ("POST", "api", "v1", "runs", run_id, "replay"):
                return self._trigger(self.runs[run_id]["taskIdentifier"], {"options": body})
            case ("GET", "api", "v1", "whoami"):
                return 200, {
                    "id": "env_1",
                    "type": self.environment_type,
                    "slug": "x",
                    "project": {"id": "proj_1", "ref": "proj_abc"},
                }
            case _:
                return self._deployment_answer(method, parts, body)

    def _deployment_answer(self, method: str, parts: list[str], body: Any) -> Any:  # noqa: PLR0911
        match (method, *parts):
            case ("POST", "api", "v1", "deployments"):
                return self._create(body)
            case ("GET", "api", "v1", "deployments", "current"):
                found = self.deployments.get(self.current or "")
                return (200, found) if found else (404, {"error": "no current deployment"})
            case ("GET", "api", "v1", "deployments", deployment_id):
                return 200, self.deployments[deployment_id]
            case ("POST", "api", "v1", "artifacts"):
                if body["digest"] in self.artifacts:
                    return 200, {"url": "/uploads/x", "exists": True}
                return 200, {"url": f"/uploads/{body['digest']}"}
            case ("PUT", "uploads", digest):
                return self._store(unquote(digest), body)
            case ("POST", "api", "v1", "deployments", deployment_id, "background-workers"):
                return self._register(deployment_id, body)
            case ("POST", "api", "v1", "deployments", deployment_id, "fail" | "cancel" as how):
                status = {"fail": "FAILED", "cancel": "CANCELED"}[how]
                self.deployments[deployment_id] |= {"status": status, **body}
                return 200, {"id": deployment_id}
            case ("POST", "api", "v3", "deployments", deployment_id, "finalize"):
                return self._finalize(deployment_id)
            case _:
                return self._dev_answer(method, parts, body)

    def _dev_answer(self, method: str, parts: list[str], body: Any) -> Any:  # noqa: PLR0911
        match (method, *parts):
            case ("POST", "api", "v1", "projects", "proj_abc", "background-workers"):
                self.dev_workers.append(body)
                version = f"20261122.{len(self.dev_workers)}"
                return 200, {"id": f"worker_{version}", "version": version}
            case ("POST", "engine", "v1", "dev", "dequeue"):
                return 200, self._dequeue()
            case ("POST", "engine", "v1", "dev", "runs", run_id, "logs"):
                return self.dev_runs[run_id].logs(body)
            case ("GET", "engine", "v1", "dev", "runs", run_id, "snapshots", "since", snapshot):
                return self.dev_runs[run_id].since(snapshot)
            case ("GET", "engine", "v1", "dev", "runs", run_id, "snapshots", "latest"):
                run = self.dev_runs[run_id]
                return 200, {"execution": run.since("")[1]["snapshots"][-1]}
            case ("POST", "engine", "v1", "dev", "runs", run_id, "snapshots", snapshot, *rest):
                run = self.dev_runs[run_id]
                run.headers.append(self.headers[-1])
                handlers = {
                    "start": run.start,
                    "complete": run.complete,
                    "heartbeat": run.heartbeat,
                }
                status, answer = handlers[rest[-1]](snapshot, body)
                execution = answer.get("execution", {}).get("run")
                if execution is not None:
                    execution["id"] = run_id
                return status, answer
            case _:
                return 404, {"error": f"no route {method} {'/'.join(parts)}"}

    # -- what they do -------------------------------------------------------------------------------

    def _trigger(self, task: str, body: Any) -> Any:
        run_id = f"run_{len(self.runs) + 1}"
        self.runs[run_id] = {
            "id": run_id,
            "taskIdentifier": task,
            "status": "QUEUED",
            "isCompleted": False,
            "payload": body.get("payload"),
            "options": body.get("options", {}),
        }
        return 200, {"id": run_id, "isCached": False}

    def _retrieve(self, run_id: str) -> Any:
        run = self.runs.get(run_id)
        if run is None:
            return 404, {"error": "Not found"}
        coming = self.statuses_to_come.get(run_id) or []
        if coming:
            run["status"] = coming.pop(0)
            if run["status"] == "COMPLETED" and run_id in self.outputs:
                run["output"] = self.outputs[run_id]
            run["isCompleted"] = run["status"] in {"COMPLETED", "FAILED"}
        return 200, run

    def _list(self, query: dict[str, str]) -> Any:
        found = list(reversed(self.runs.values()))
        if "filter[status]" in query:
            found = [run for run in found if run["status"] in query["filter[status]"].split(",")]
        size, after = int(query["page[size]"]), int(query.get("page[after]", "0"))
        more = {"next": str(after + size)} if after + size < len(found) else {}
        return 200, {"data": found[after : after + size], "pagination": more}

    def _cancel(self, run_id: str) -> Any:
        if run_id in self.dev_runs:
            self.dev_runs[run_id].move("PENDING_CANCEL")
        return 200, {"id": run_id}

    def _create(self, body: Any) -> Any:
        deployment_id = f"deployment_{len(self.deployments) + 1}"
        self.deployments[deployment_id] = {
            "id": deployment_id,
            "version": f"20261122.{len(self.deployments) + 1}",
            "status": body["initialStatus"],
            "asked": body,
        }
        return 200, self.deployments[deployment_id]

    def _store(self, digest: str, data: bytes) -> Any:
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            return 400, {"error": "the digest does not match"}
        self.artifacts[digest] = data
        return 200, {"ok": True}

    def _register(self, deployment_id: str, body: Any) -> Any:
        tasks = [{"slug": item["id"], **item} for item in body["metadata"]["tasks"]]
        self.deployments[deployment_id]["worker"] = {"tasks": tasks}
        return 200, {"id": "worker_1", "version": self.deployments[deployment_id]["version"]}

    def _finalize(self, deployment_id: str) -> Any:
        if self.streams:
            return 200, self.streams.pop(0)
        if self.finalize_events[-1][0] == "complete":
            self.deployments[deployment_id]["status"] = "DEPLOYED"
            self.current = deployment_id
        self.deployments[deployment_id] |= self.fate
        return 200, self.finalize_events

    def _dequeue(self) -> list[dict[str, Any]]:
        if not self.dev_queue:
            return []
        run_id = self.dev_queue.pop(0)
        snapshot_id = self.dev_runs[run_id].snapshots[-1][0]
        version = f"20261122.{len(self.dev_workers)}"
        return [
            {
                "run": {"friendlyId": run_id},
                "snapshot": {"friendlyId": snapshot_id},
                "backgroundWorker": {"version": version},
            }
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    platform: FakePlatform

    def do_GET(self) -> None:
        self._serve("GET", None)

    def do_POST(self) -> None:
        self._serve("POST", json.loads(self._body() or b"{}"))

    def do_PUT(self) -> None:
        self._serve("PUT", self._body())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _serve(self, method: str, body: Any) -> None:
        platform, url = self.platform, urlsplit(self.path)
        if url.path.startswith("/moved"):
            self._send(301, b"", "text/html", {"location": "https://else.where/"})
            return
        if url.path.startswith("/page"):
            self._send(404, b"<html><title>There is nothing here</title>", "text/html")
            return
        parts = [part for part in url.path.split("/") if part]
        name = "upload" if parts[0] == "uploads" else parts[-1]
        with platform.changed:
            platform.calls[name] += 1
            platform.asked.append((method, url.path, body))
            platform.headers.append({k.lower(): v for k, v in self.headers.items()})
            waiting = platform.faults.get(name, [])
            fault = waiting.pop(0) if waiting else None
            if isinstance(fault, int):
                self._answer(fault, {"error": f"scripted {fault}"}, platform.fault_headers)
                return
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            status, answer = self._answer_once(method, parts, body, query)
            platform.changed.notify_all()
        if fault == "hold":
            platform.over.wait(30)
        if fault in {"lose_answer", "hold"}:
            self.close_connection = True
        elif name == "finalize" and status == 200:
            self._stream(answer)
        else:
            self._answer(status, answer, {})

    def _answer_once(self, method: str, parts: list[str], body: Any, query: Any) -> Any:
        if self.headers.get("authorization") not in {f"Bearer {PROD_KEY}", f"Bearer {DEV_KEY}"}:
            return 401, {"error": "Invalid API Key"}
        key = self.headers.get("x-trigger-request-idempotency-key") or ""
        if key not in self.platform.answers:
            self.platform.answers[key] = self.platform.answer(method, parts, body, query)
        return self.platform.answers[key]

    def _stream(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for name, data in events:
            self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        self.close_connection = True

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", headers)

    def _send(
        self, status: int, data: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving_rest(platform: FakePlatform) -> Iterator[str]:
    """Serve a platform on a free loopback port; gives its base URL."""
    handler = type("Handler", (_Handler,), {"platform": platform})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        platform.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
