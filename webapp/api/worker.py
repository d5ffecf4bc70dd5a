"""The worker API: supervisors under a group's token, developers under their environment's key.

Both speak the same calls; they differ in whose runs they may touch. Developers' paths begin with
`/engine/v1/dev`, supervisors' with `/engine/v1/worker-actions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from ninja import Router

from deployments.worker_groups import record_connect, record_heartbeat
from ledger.feed import feed
from runs.contracts import (
    CompleteAttempt,
    ConnectAnswer,
    ConnectRequest,
    DequeueRequest,
    DispatchFailed,
    LogBatch,
    Ok,
    RunHeartbeat,
    StartAttempt,
    WorkerGroupRef,
    WorkerHeartbeat,
)
from runs.execution import execution_data, run_ref, snapshot_ref, started_attempt
from runs.moves import Mover, read_run
from runs.selectors import get_snapshot, list_snapshots_since
from runs.services.attempts import (
    Scope,
    check_scope,
    complete_attempt,
    continue_run,
    heartbeat_run,
    start_attempt,
)
from runs.services.leases import Holder, Room, fail_dispatch, lease_runs
from runs.services.logs import append_logs
from runs.services.wakeups import board
from webapp.api.auth import environment_key, worker_token
from webapp.api.errors import ApiError

LOOK_AGAIN_S: Final = 5.0  # a missed wake-up costs at most this
LOOK_AGAIN_DEAF_S: Final = 1.0  # while nobody tells us
DEVELOPMENT: Final = "DEVELOPMENT"

_polls = BoundedSemaphore(settings.ENV.max_polls)


class Acting(NamedTuple):
    """Who calls, as the engine sees it."""

    holder: Holder
    scope: Scope
    mover: Mover


def supervisor(request: HttpRequest) -> Acting:
    """Give the supervisor behind a request, or raise 401."""
    caller = worker_token(request)
    key = _request_key(request)
    return Acting(
        Holder(caller.group.master_queue, caller.group.id, caller.instance_name, key),
        Scope(worker_group_id=caller.group.id),
        Mover(caller.group.id, caller.instance_name, _runner(request), key),
    )


def developer(request: HttpRequest) -> Acting:
    """Give the developer behind a development key; 403 for any other environment's."""
    environment = environment_key(request).environment
    if environment.type != DEVELOPMENT:
        raise ApiError(403, "Only the key of a development environment may take its runs")
    key = _request_key(request)
    return Acting(
        Holder(environment.id, None, "dev", key),
        Scope(environment_id=environment.id),
        Mover(None, "dev", _runner(request), key),
    )


def _runner(request: HttpRequest) -> str | None:
    return request.headers.get("x-trigger-worker-runner-id", "")[:200] or None


def _request_key(request: HttpRequest) -> str | None:
    return request.headers.get("x-trigger-request-idempotency-key", "")[:200] or None


def connect(request: HttpRequest, body: ConnectRequest) -> dict[str, Any]:
    """Answer a supervisor's hello."""
    caller = worker_token(request)
    record_connect(
        group_id=caller.group.id,
        name=caller.instance_name,
        metadata=body.metadata,
        now=datetime.now(UTC),
    )
    group = WorkerGroupRef(type=_group_type(caller.group.type), name=caller.group.name)
    return ConnectAnswer(workerGroup=group).to_wire()


def _group_type(value: str) -> Any:
    return value


def heartbeat(request: HttpRequest, body: WorkerHeartbeat) -> dict[str, Any]:
    """Note that a supervisor is alive."""
    del body  # its figures are the supervisor's own; admission happens there
    caller = worker_token(request)
    record_heartbeat(group_id=caller.group.id, name=caller.instance_name, now=datetime.now(UTC))
    return Ok().to_wire()


def dequeue(request: HttpRequest, body: DequeueRequest) -> list[dict[str, Any]]:
    """Lease the next runs, waiting a while for one."""
    acting: Acting = request.auth  # type: ignore[attr-defined]
    room = body.maxResources
    if body.queueClass != "default":
        return []  # no run is ever queued there yet

    def take() -> list[dict[str, Any]]:
        messages = lease_runs(
            acting.holder,
            count=body.maxRunCount,
            room=None if room is None else Room(room.cpu, room.memory),
        )
        return [message.to_wire() for message in messages]

    return wait_for(take, queue=acting.holder.worker_queue)


def wait_for(take: Callable[[], list[dict[str, Any]]], *, queue: str) -> list[dict[str, Any]]:
    """Try until there is something or the time is over.

    A waiting poll holds a thread but no database connection. Polls beyond the bound do not wait.
    """
    deadline = time.monotonic() + settings.ENV.dequeue_blocking_timeout_s
    if not _polls.acquire(blocking=False):
        return take()
    try:
        while True:
            seen = board.mark(queue)
            taken = take()
            left_s = deadline - time.monotonic()
            if taken or left_s <= 0:
                return taken
            connection.close()  # back into the pool
            look_again_s = LOOK_AGAIN_S if feed.subscribed else LOOK_AGAIN_DEAF_S
            board.wait(queue, seen=seen, timeout_s=min(left_s, look_again_s))
    finally:
        _polls.release()


def start(request: HttpRequest, run_id: str, snapshot_id: str, body: StartAttempt) -> Any:
    """Start an attempt and give the runner everything it needs."""
    del body  # whether the start was warm is the supervisor's to count
    acting: Acting = request.auth  # type: ignore[attr-defined]
    started = start_attempt(
        run_id=run_id, snapshot_id=snapshot_id, scope=acting.scope, mover=acting.mover
    )
    answer = started_attempt(run_id, started)
    return {
        "run": answer.run,
        "snapshot": answer.snapshot,
        "execution": answer.execution,
        "envVars": answer.env_vars,
    }


def complete(request: HttpRequest, run_id: str, snapshot_id: str, body: CompleteAttempt) -> Any:
    """End an attempt and say what follows."""
    acting: Acting = request.auth  # type: ignore[attr-defined]
    done = complete_attempt(
        run_id=run_id,
        snapshot_id=snapshot_id,
        completion=body.completion,
        scope=acting.scope,
        mover=acting.mover,
        force_queue=body.forceRequeue,
    )
    return {"result": {"attemptStatus": done.attempt_status, **_standing(run_id)}}


def go_on(request: HttpRequest, run_id: str, snapshot_id: str) -> Any:
    """Let a restored workload go on."""
    acting: Acting = request.auth  # type: ignore[attr-defined]
    continue_run(run_id=run_id, snapshot_id=snapshot_id, scope=acting.scope, mover=acting.mover)
    return _standing(run_id)


def run_heartbeat(
    request: HttpRequest, run_id: str, snapshot_id: str, body: RunHeartbeat
) -> dict[str, Any]:
    """Keep an executing run from counting as stalled; a stale heartbeat is answered alike."""
    del body
    acting: Acting = request.auth  # type: ignore[attr-defined]
    heartbeat_run(run_id=run_id, snapshot_id=snapshot_id, scope=acting.scope)
    return Ok().to_wire()


def dispatch_failed(
    request: HttpRequest, run_id: str, snapshot_id: str, body: DispatchFailed
) -> dict[str, Any]:
    """Take back a leased run for which no workload could be started."""
    acting: Acting = request.auth  # type: ignore[attr-defined]
    fail_dispatch(
        run_id=run_id,
        snapshot_id=snapshot_id,
        failure=body,
        scope=acting.scope,
        mover=acting.mover,
    )
    return Ok().to_wire()


def latest(request: HttpRequest, run_id: str) -> Any:
    """Give a run at its latest snapshot."""
    run = read_run(run_id)
    check_scope(run, request.auth.scope)  # type: ignore[attr-defined]
    return {"execution": execution_data(get_snapshot(run_id, run.snapshot_id)).to_wire()}


def since(request: HttpRequest, run_id: str, snapshot_id: str) -> Any:
    """Give the snapshots after one, oldest first."""
    check_scope(read_run(run_id), request.auth.scope)  # type: ignore[attr-defined]
    newer = list_snapshots_since(run_id, snapshot_id)
    return {"snapshots": [execution_data(snapshot).to_wire() for snapshot in newer]}


def logs(request: HttpRequest, run_id: str, body: LogBatch) -> dict[str, Any]:
    """Keep what an attempt wrote; sending a line again changes nothing."""
    check_scope(read_run(run_id), request.auth.scope)  # type: ignore[attr-defined]
    append_logs(run_id=run_id, batch=body)
    return Ok().to_wire()


def debug_log(request: HttpRequest, run_id: str) -> HttpResponse:
    """Take a runner's debug line; it is for the supervisor's own log and not kept here."""
    check_scope(read_run(run_id), request.auth.scope)  # type: ignore[attr-defined]
    return HttpResponse(status=204)


def _standing(run_id: str) -> dict[str, Any]:
    run = read_run(run_id)
    return {
        "run": run_ref(run.id, run.status.value, run.attempt_number).to_wire(),
        "snapshot": snapshot_ref(get_snapshot(run.id, run.snapshot_id)).to_wire(),
    }


_AT_SNAPSHOT = "/runs/{run_id}/snapshots/{snapshot_id}"
_POSTS: dict[str, Callable[..., Any]] = {
    "/dequeue": dequeue,
    f"{_AT_SNAPSHOT}/attempts/start": start,
    f"{_AT_SNAPSHOT}/attempts/complete": complete,
    f"{_AT_SNAPSHOT}/heartbeat": run_heartbeat,
    f"{_AT_SNAPSHOT}/dispatch-failed": dispatch_failed,
    "/runs/{run_id}/logs": logs,
    "/runs/{run_id}/logs/debug": debug_log,
}
_GETS: dict[str, Callable[..., Any]] = {
    f"{_AT_SNAPSHOT}/continue": go_on,
    "/runs/{run_id}/snapshots/latest": latest,
    "/runs/{run_id}/snapshots/since/{snapshot_id}": since,
}


def _router(who: Callable[[HttpRequest], Acting], tag: str) -> Router:
    router = Router(auth=who, tags=[tag])
    for paths, register in ((_POSTS, router.post), (_GETS, router.get)):
        for path, view in paths.items():
            register(path, operation_id=f"{tag}_{view.__name__}", response=Any)(view)
    return router


worker_router = _router(supervisor, "worker")
worker_router.post("/connect", operation_id="worker_connect", response=Any)(connect)
worker_router.post("/heartbeat", operation_id="worker_heartbeat", response=Any)(heartbeat)
dev_router = _router(developer, "dev")
