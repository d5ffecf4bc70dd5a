"""A small real implementation of the platform's worker API, in memory, with faults on demand.

Leases, snapshots, attempts and idempotency behave as `docs/worker-api.md` says; what the database
would hold is in `FakeRun`. A fault is armed with `platform.arm(call, fault)` and hits that call
once: `refuse` answers a status without doing anything, `lose` does the work and drops the line,
`slow` waits before it does the work.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote

BASE = "/engine/v1/worker-actions"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SNAPSHOT = r"/runs/(?P<run>[^/]+)/snapshots/(?P<snapshot>[^/]+)"
RUN_STATUS = {"EXECUTING": "EXECUTING", "QUEUED": "PENDING", "PENDING_EXECUTING": "DEQUEUED"}


@dataclass
class FakeRun:
    """A run with its life so far."""

    id: str
    group: str
    image: str | None = "crossfade/proj_x:1-abc"
    cpu: float = 0.5
    memory: float = 0.5
    payload: str | None = None  # JSON
    task: str = "task"  # of `tasks.py` in the artifact: its id and its name
    retries: int = 0  # failed attempts that are answered RETRY_IMMEDIATELY
    status: str = "QUEUED"
    attempt: int = 0
    dispatch: int = 0
    snapshots: list[str] = field(default_factory=list)
    runners: list[str] = field(default_factory=list)
    completions: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    beats: int = 0

    @property
    def snapshot(self) -> str:
        """Give the id of the latest snapshot."""
        return self.snapshots[-1]

    def move(self, status: str) -> None:
        """Append a snapshot."""
        self.status = status
        self.snapshots.append(f"snapshot_{self.id.removeprefix('run_')}{len(self.snapshots):04d}")

    def wire_snapshot(self) -> dict[str, Any]:
        """Give the latest snapshot as the wire has it."""
        return {
            "id": self.snapshot.removeprefix("snapshot_"),
            "friendlyId": self.snapshot,
            "executionStatus": self.status,
            "description": self.status,
            "createdAt": NOW.isoformat(),
        }

    def wire_run(self) -> dict[str, Any]:
        """Give the run as the wire has it."""
        return {
            "id": self.id.removeprefix("run_"),
            "friendlyId": self.id,
            "status": RUN_STATUS.get(self.status, "COMPLETED_SUCCESSFULLY"),
            "attemptNumber": self.attempt,
        }


@dataclass
class Fault:
    """What happens to a call, once."""

    kind: str  # refuse, lose, slow
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    release: threading.Event = field(default_factory=threading.Event)  # of a slow call


@dataclass
class Reply:
    """An answer."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


STALE = Reply(409, {"error": "the snapshot is not the latest"}, {"x-should-retry": "false"})


class FakePlatform:
    """The platform's side of the worker API."""

    def __init__(self, *, groups: dict[str, str], secret: str, poll_s: float = 0.3) -> None:
        self.groups = groups  # token -> name
        self.secret = secret
        self.poll_s = poll_s
        self.ignore_room = False  # hand out runs that do not fit what was asked for
        self.runs: dict[str, FakeRun] = {}
        self.artifacts: dict[str, tuple[bytes, str]] = {}
        self.calls: list[tuple[str, dict[str, str], Any]] = []  # call, headers, body
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.changed = threading.Condition()
        self._answered: dict[str, Reply] = {}  # by idempotency key
        handler = type("Handler", (_Handler,), {"platform": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def start(self, port: int | None = None) -> None:
        """Listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Give the address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def arm(self, call: str, kind: str, **options: Any) -> Fault:
        """Let a fault hit the next such call."""
        fault = Fault(kind, **options)
        self.faults[call].append(fault)
        return fault

    def add_artifact(self, image: str, data: bytes, *, digest: str | None = None) -> None:
        """Store an artifact, with a wrong digest if one is given."""
        self.artifacts[image] = (data, digest or hashlib.sha256(data).hexdigest())

    def add_run(self, name: str, **fields: Any) -> FakeRun:
        """Queue a run."""
        fields.setdefault("group", next(iter(self.groups.values())))
        run = FakeRun(id=f"run_{name:x>25}", **fields)
        with self.changed:
            run.move("QUEUED")
            self.runs[run.id] = run
            self.changed.notify_all()
        return run

    def calls_of(self, call: str) -> list[tuple[dict[str, str], Any]]:
        """Give headers and body of each such call so far."""
        with self.changed:
            return [(headers, body) for name, headers, body in self.calls if name == call]

    def forget(self) -> None:
        """Forget every run, artifact and call, as if nobody had asked yet."""
        with self.changed:
            self.runs.clear()
            self.calls.clear()
            self.artifacts.clear()
            self.faults.clear()

    # -- routes -----------------------------------------------------------------------------------

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> Reply | None:
        """Answer a call, or None to drop the line."""
        call, arguments = _route(method, path)
        with self.changed:
            self.calls.append((call, headers, body))
            self.changed.notify_all()
            armed = self.faults[call]
            fault = armed.pop(0) if armed else None
        group = self._group(headers)
        if group is None and not (call == "artifact" and self._has_secret(headers)):
            return Reply(401, {"error": "Invalid or missing worker token"})
        if fault and fault.kind == "refuse":
            return Reply(fault.status, {"error": "refused on purpose"}, fault.headers)
        if fault and fault.kind == "slow":
            fault.release.wait(20)
        reply = self._once(call, group or "", headers, body, arguments)
        return None if fault and fault.kind == "lose" else reply

    def _group(self, headers: dict[str, str]) -> str | None:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        return self.groups.get(token) if self._has_secret(headers) else None

    def _has_secret(self, headers: dict[str, str]) -> bool:
        return headers.get("x-trigger-worker-managed-secret") == self.secret

    def _once(
        self, call: str, group: str, headers: dict[str, str], body: Any, arguments: dict[str, str]
    ) -> Reply:
        """Do the work, or give the answer it had when the same key asked before."""
        key = headers.get("x-trigger-request-idempotency-key", "")
        with self.changed:
            if call in {"dequeue", "start"} and key in self._answered:
                return self._answered[key]
            reply: Reply = getattr(self, f"_on_{call}")(group, headers, body, **arguments)
            if reply.status == 200 and reply.body:
                self._answered[key] = reply
            self.changed.notify_all()
            return reply

    def _on_unknown(self, *_: Any) -> Reply:
        return Reply(404, {"error": "no such route"})

    def _on_connect(self, group: str, *_: Any) -> Reply:
        return Reply(200, {"ok": True, "workerGroup": {"type": "MANAGED", "name": group}})

    def _on_heartbeat(self, *_: Any) -> Reply:
        return Reply(200, {"ok": True})

    def _on_dequeue(self, group: str, _headers: Any, body: Any) -> Reply:
        room = body["maxResources"]

        def eligible() -> FakeRun | None:
            for run in self.runs.values():
                fits = run.cpu <= room["cpu"] + 1e-6 and run.memory <= room["memory"] + 1e-6
                wanted = fits or self.ignore_room
                if run.group == group and run.status == "QUEUED" and wanted:
                    return run
            return None

        self.changed.wait_for(lambda: eligible() is not None, timeout=self.poll_s)
        run = eligible()
        if run is None:
            return Reply(200, [])
        run.move("PENDING_EXECUTING")
        run.dispatch += 1
        return Reply(200, [self._message(run)])

    def _message(self, run: FakeRun) -> dict[str, Any]:
        image = {} if run.image is None else {"image": run.image}
        return {
            "version": "1",
            "snapshot": run.wire_snapshot(),
            "dequeuedAt": NOW.isoformat(),
            **image,
            "backgroundWorker": {"id": "w", "friendlyId": "worker_w", "version": "20260102.1"},
            "deployment": {"id": "d", "friendlyId": "deployment_d"},
            "run": {
                "id": run.id.removeprefix("run_"),
                "friendlyId": run.id,
                "machine": {"name": "small-1x", "cpu": run.cpu, "memory": run.memory},
                "attemptNumber": run.attempt + 1,
                "masterQueue": run.group,
            },
            "environment": {"id": "env_e", "type": "PRODUCTION"},
            "organization": {"id": "org_o"},
            "project": {"id": "proj_p", "ref": "proj_ref"},
            "dispatch": run.dispatch,
        }

    def _on_start(
        self, group: str, headers: dict[str, str], _body: Any, run: str, snapshot: str
    ) -> Reply:
        found = self._find(group, run)
        if found is None:
            return Reply(404, {"error": "no such run"})
        if found.snapshot != snapshot:
            return STALE
        found.attempt += 1
        found.move("EXECUTING")
        found.runners.append(headers.get("x-trigger-worker-runner-id", ""))
        execution = {
            "attempt": {"number": found.attempt, "startedAt": NOW.isoformat()},
            "run": {"id": found.id, "payload": found.payload, "createdAt": NOW.isoformat()},
            "task": {"id": found.task, "filePath": "tasks.py", "exportName": found.task},
            "environment": {"id": "env_e", "type": "PRODUCTION", "slug": "prod"},
        }
        wire = {"run": found.wire_run(), "snapshot": found.wire_snapshot()}
        return Reply(200, {**wire, "execution": execution, "envVars": {}})

    def _on_complete(self, group: str, _headers: Any, body: Any, run: str, snapshot: str) -> Reply:
        found = self._find(group, run)
        if found is None:
            return Reply(404, {"error": "no such run"})
        if found.snapshot != snapshot:
            return STALE
        found.completions.append(body["completion"])
        if found.attempt <= found.retries:
            found.move("EXECUTING")
            status = "RETRY_IMMEDIATELY"
        else:
            found.move("FINISHED")
            status = "RUN_FINISHED"
        wire = {"run": found.wire_run(), "snapshot": found.wire_snapshot()}
        return Reply(200, {"result": {"attemptStatus": status, **wire}})

    def _on_dispatch_failed(
        self, group: str, _headers: Any, body: Any, run: str, snapshot: str
    ) -> Reply:
        found = self._find(group, run)
        if found is None or found.snapshot != snapshot:
            return STALE
        found.failures.append(body)
        found.move("FINISHED" if body["permanent"] or len(found.failures) > 2 else "QUEUED")
        return Reply(200, {"ok": True})

    def _on_beat(self, group: str, _headers: Any, _body: Any, run: str, snapshot: str) -> Reply:
        found = self._find(group, run)
        if found is None:
            return Reply(404, {"error": "no such run"})
        found.beats += 1
        return Reply(200, {"ok": True})

    def _on_continue(
        self, _group: str, _headers: Any, _body: Any, run: str, snapshot: str
    ) -> Reply:
        return STALE

    def _on_since(self, group: str, _headers: Any, _body: Any, run: str, snapshot: str) -> Reply:
        found = self._find(group, run)
        if found is None:
            return Reply(404, {"error": "no such run"})
        newer = [found] if found.snapshot > snapshot else []
        return Reply(200, {"snapshots": [self._execution(item) for item in newer]})

    def _on_latest(self, group: str, _headers: Any, _body: Any, run: str) -> Reply:
        found = self._find(group, run)
        if found is None:
            return Reply(404, {"error": "no such run"})
        return Reply(200, {"execution": self._execution(found)})

    def _execution(self, run: FakeRun) -> dict[str, Any]:
        return {"version": "1", "snapshot": run.wire_snapshot(), "run": run.wire_run()}

    def _on_logs(self, group: str, _headers: Any, body: Any, run: str) -> Reply:
        found = self._find(group, run)
        if found is None:
            return Reply(404, {"error": "no such run"})
        found.logs.append(body)
        return Reply(200, {"ok": True})

    def _on_artifact(self, _group: str, _headers: Any, _body: Any, image: str) -> Reply:
        if image not in self.artifacts:
            return Reply(404, {"error": "no such artifact"})
        data, digest = self.artifacts[image]
        return Reply(200, data, {"x-artifact-digest": f"sha256:{digest}"})

    def _find(self, group: str, run_id: str) -> FakeRun | None:
        run = self.runs.get(run_id)
        return run if run is not None and run.group == group else None


ROUTES = [
    (f"POST {BASE}/connect", "connect"),
    (f"POST {BASE}/dequeue", "dequeue"),
    (f"POST {BASE}/heartbeat", "heartbeat"),
    (f"POST {BASE}{SNAPSHOT}/attempts/start", "start"),
    (f"POST {BASE}{SNAPSHOT}/attempts/complete", "complete"),
    (f"POST {BASE}{SNAPSHOT}/dispatch-failed", "dispatch_failed"),
    (f"POST {BASE}{SNAPSHOT}/heartbeat", "beat"),
    (f"GET {BASE}{SNAPSHOT}/continue", "continue"),
    (f"GET {BASE}/runs/(?P<run>[^/]+)/snapshots/latest", "latest"),
    (f"GET {BASE}/runs/(?P<run>[^/]+)/snapshots/since/(?P<snapshot>[^/]+)", "since"),
    (f"POST {BASE}/runs/(?P<run>[^/]+)/logs", "logs"),
    (r"GET /engine/v1/artifacts/(?P<image>[^/]+)", "artifact"),
]


def _route(method: str, path: str) -> tuple[str, dict[str, str]]:
    for pattern, name in ROUTES:
        match = re.fullmatch(pattern, f"{method} {path}")
        if match:
            return name, {key: unquote(value) for key, value in match.groupdict().items()}
    return "unknown", {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: callers that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    platform: ClassVar[FakePlatform]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.platform.answer(
            self.command, self.path, headers, json.loads(raw) if raw else None
        )
        self.close_connection = reply is None
        if reply is None:
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {**reply.headers, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
