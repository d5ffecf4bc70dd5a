"""The trigger route: the one view written by hand, because it is the hot path.

A router's machinery would cost more than the trigger itself (`bench/`: trigger.http_vs_empty_view).
It does what routers do, and no more: recognise the caller, parse, call one service, map the result.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from runs.services.trigger import trigger_run
from webapp.api.auth import environment_key
from webapp.api.cross_origin import ANY_ORIGIN, PREFLIGHT, readable_anywhere
from webapp.api.errors import ApiError, respond
from webapp.api.trigger_body import Headers, read_trigger


@csrf_exempt  # callers present keys, never cookies
def trigger(request: HttpRequest, task_id: str) -> HttpResponse:
    """Answer `POST /api/v1/tasks/{taskId}/trigger`."""
    if request.method == "OPTIONS":
        return HttpResponse(status=204, headers=PREFLIGHT)
    try:
        return _trigger(request, task_id)
    except Exception as error:  # noqa: BLE001  the table of errors answers every one of them
        return readable_anywhere(respond(request, error))


def _trigger(request: HttpRequest, task_id: str) -> HttpResponse:
    if request.method != "POST":
        raise ApiError(405, "Method not allowed", headers={"Allow": "POST, OPTIONS"})
    caller = environment_key(request)
    now = datetime.now(UTC)
    call = read_trigger(request.body, task=task_id, headers=Headers(request.META), now=now)
    made = trigger_run(caller, call, now=now)
    is_cached = "true" if made.is_cached else "false"
    response = HttpResponse(
        f'{{"id":"{made.run_id}","isCached":{is_cached}}}',
        content_type="application/json",
        headers=ANY_ORIGIN,
    )
    response["x-trigger-jwt-claims"] = (
        f'{{"sub":"{caller.environment.id}","pub":true,'
        f'"scopes":["read:runs:{made.run_id}","write:inputStreams:{made.run_id}"]}}'
    )
    return response
