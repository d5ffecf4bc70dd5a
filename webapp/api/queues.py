"""The public routes of queues: read, pause and resume, override and reset the limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from annotated_types import Ge, Gt, Le
from ninja import Query, Router

from deployments.queue_selectors import (
    QueueRef,
    QueueView,
    RefType,
    get_queue,
    list_queues,
)
from deployments.queues import (
    LimitOverride,
    override_queue_limit,
    reset_queue_limit,
    set_queue_paused,
)
from runs.queue_selectors import count_by_queue
from tenants.errors import Invalid, Problem
from webapp.api.auth import CallerRequest, environment_key
from webapp.api.deployments import request_id_of, scope_of
from webapp.api.run_answers import iso
from webapp.api.trigger_body import Options

router = Router(auth=environment_key, tags=["queues"])

DEFAULT_SIZE: Final = 25
MAX_SIZE: Final = 100
MAX_PAGE: Final = 1_000_000
MAX_LIMIT: Final = 100_000
TASK_PREFIX: Final = "task/"


class ResetBody(Options):
    """How the path names the queue."""

    type: RefType = "id"


class PauseBody(ResetBody):
    """What to do with the queue."""

    action: Literal["pause", "resume"]


class OverrideBody(ResetBody):
    """Exactly one of the two."""

    concurrencyLimit: Annotated[int, Ge(0), Le(MAX_LIMIT)] | None = None  # noqa: N815
    percent: Annotated[float, Gt(0), Le(100)] | None = None


@router.get("/v1/queues", operation_id="list_queues", response=Any)
def get_list(
    request: CallerRequest,
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1,
    size: Annotated[int, Query(alias="perPage", ge=1)] = DEFAULT_SIZE,
) -> dict[str, Any]:
    """Give a page of the environment's queues by name; `perPage` above 100 counts as 100."""
    size = min(size, MAX_SIZE)
    environment_id = request.auth.environment.id
    found = list_queues(environment_id=environment_id, page=page, size=size)
    pages = max(1, -(-found.total // size))
    return {
        "data": _answers(environment_id, found.rows),
        "pagination": {"currentPage": page, "totalPages": pages, "count": found.total},
    }


@router.post("/v1/queues/{path:queue}/pause", operation_id="pause_queue", response=Any)
def pause(request: CallerRequest, queue: str, body: PauseBody) -> dict[str, Any]:
    """Hand out nothing more of a queue, or go on."""
    changed = set_queue_paused(
        ref=_ref(body.type, queue), paused=body.action == "pause", **_write_context(request)
    )
    return _answer(request, changed)


@router.post(
    "/v1/queues/{path:queue}/concurrency/override",
    operation_id="override_queue_concurrency",
    response=Any,
)
def override(request: CallerRequest, queue: str, body: OverrideBody) -> dict[str, Any]:
    """Put a limit in the place of the declared one."""
    if (body.concurrencyLimit is None) == (body.percent is None):
        message = "give exactly one of concurrencyLimit and percent"
        raise Invalid(message, (Problem("concurrencyLimit", message),))
    changed = override_queue_limit(
        ref=_ref(body.type, queue),
        override=LimitOverride(limit=body.concurrencyLimit, percent=body.percent),
        **_write_context(request),
    )
    return _answer(request, changed)


@router.post(
    "/v1/queues/{path:queue}/concurrency/reset",
    operation_id="reset_queue_concurrency",
    response=Any,
)
def reset(request: CallerRequest, queue: str, body: ResetBody) -> dict[str, Any]:
    """Put the declared limit back in effect."""
    changed = reset_queue_limit(ref=_ref(body.type, queue), **_write_context(request))
    return _answer(request, changed)


# Last: its path would match those above, too.
@router.get("/v1/queues/{path:queue}", operation_id="get_queue", response=Any)
def get_one(request: CallerRequest, queue: str, type: RefType = "id") -> dict[str, Any]:  # noqa: A002  wire
    """Give a queue."""
    environment_id = request.auth.environment.id
    return _answer(request, get_queue(environment_id=environment_id, ref=_ref(type, queue)))


def _ref(kind: RefType, segment: str) -> QueueRef:
    """Give the queue that a path names; clients encode the slash of a name twice."""
    return QueueRef(kind, unquote(segment))


def _write_context(request: CallerRequest) -> dict[str, Any]:
    caller = request.auth
    return {
        "scope": scope_of(caller),
        "actor": f"key:{caller.key_id}",
        "source": "api",
        "request_id": request_id_of(request),
        "now": datetime.now(UTC),
    }


def _answer(request: CallerRequest, queue: QueueView) -> dict[str, Any]:
    (answer,) = _answers(request.auth.environment.id, [queue])
    return answer


def _answers(environment_id: str, queues: Sequence[QueueView]) -> list[dict[str, Any]]:
    """Give queues as the protocol has them. Here null is a value: no limit, no override."""
    names = [queue.name for queue in queues]
    counts = count_by_queue(environment_id=environment_id, names=names)
    return [
        {
            "id": queue.id,
            "name": queue.name.removeprefix(TASK_PREFIX) if queue.type == "task" else queue.name,
            "type": queue.type,
            "running": counts[queue.name].running,
            "queued": counts[queue.name].queued,
            "paused": queue.paused,
            "concurrencyLimit": queue.limit,
            "concurrency": _concurrency(queue),
            "releaseConcurrencyOnWaitpoint": True,
        }
        for queue in queues
    ]


def _concurrency(queue: QueueView) -> dict[str, Any]:
    is_overridden = queue.overridden_at is not None
    return {
        "current": queue.limit,
        "base": queue.declared_limit,
        "override": queue.limit if is_overridden else None,
        "overriddenAt": iso(queue.overridden_at),
        "overriddenBy": None,  # a person on a page; over the API it is a key, which the audit has
    }
