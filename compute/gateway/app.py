"""The gateway's calls: parse, ask the instances, map the result."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from compute.contracts import InstanceCreateRequest, InstanceList, TemplateCreateRequest
from compute.gateway.instances import GatewayFull, NameTaken, NotCreated, UnknownInstance
from compute.gateway.requests import GatewayToken, Refusal, check_token, read_body, request_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from compute.gateway.instances import Instances
    from compute.gateway.metrics import Metrics
    from compute.gateway.templates import Templates

# What an error of the instances is answered with; `NotCreated` goes by its reason.
STATUSES: Mapping[type[Exception], HTTPStatus] = {
    NameTaken: HTTPStatus.CONFLICT,
    GatewayFull: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownInstance: HTTPStatus.NOT_FOUND,
}
STATUS_BY_REASON: Mapping[str, HTTPStatus] = {
    "no_image": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no_capacity": HTTPStatus.SERVICE_UNAVAILABLE,
}

PLACES: Mapping[str, str] = {"/api/instances": "instances", "/api/templates": "templates"}

log = structlog.get_logger()


class GatewayApi:
    """The calls of one gateway."""

    def __init__(
        self, instances: Instances, templates: Templates, *, token: str, metrics: Metrics
    ) -> None:
        self._instances = instances
        self._templates = templates
        self._token = GatewayToken(token)
        self._metrics = metrics

    def app(self) -> Starlette:
        """Give the application."""
        one = "/api/instances/{name}"
        handled = (Refusal, HTTPException, NotCreated, *STATUSES, Exception)
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/metrics", self._show_metrics),
                Route("/api/instances", self._list),
                Route("/api/instances", self._create, methods=["POST"]),
                Route(one, self._get),
                Route("/api/templates", self._create_template, methods=["POST"]),
                Route(one, self._delete, methods=["DELETE"]),
            ],
            exception_handlers=dict.fromkeys(handled, self._refuse),
        )

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("OK\n")

    async def _show_metrics(self, _request: Request) -> Response:
        page = generate_latest(self._metrics.registry)
        return Response(page, media_type="text/plain; version=0.0.4")

    async def _list(self, request: Request) -> Response:
        check_token(request, self._token)
        return self._answer(request, HTTPStatus.OK, InstanceList(data=self._instances.list()))

    async def _create(self, request: Request) -> Response:
        check_token(request, self._token)
        wanted = await read_body(request, InstanceCreateRequest)
        began = perf_counter()
        instance, is_new = await self._instances.create(
            wanted, request_id=request_id_of(request), now=datetime.now(UTC)
        )
        took_s = perf_counter() - began
        status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
        self._metrics.create_seconds.labels(status=str(int(status))).observe(took_s)
        timing = {"_timing": {"totalMs": round(took_s * 1000, 3)}}
        return self._answer(request, status, {**instance.to_wire(), **timing})

    async def _get(self, request: Request) -> Response:
        check_token(request, self._token)
        instance = self._instances.get(request.path_params["name"])
        return self._answer(request, HTTPStatus.OK, instance)

    async def _delete(self, request: Request) -> Response:
        check_token(request, self._token)
        await self._instances.delete(request.path_params["name"])
        return self._answer(request, HTTPStatus.NO_CONTENT, None)

    async def _create_template(self, request: Request) -> Response:
        check_token(request, self._token)
        wanted = await read_body(request, TemplateCreateRequest)
        response = await self._templates.create(wanted)
        status = HTTPStatus.ACCEPTED if response is None else HTTPStatus.OK
        return self._answer(request, status, response)

    def _answer(
        self,
        request: Request,
        status: HTTPStatus,
        body: Any,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        self._metrics.requests.labels(call=_call_of(request), status=str(int(status))).inc()
        if body is None:
            return Response(status_code=status)
        wire = body.to_wire() if hasattr(body, "to_wire") else body
        return JSONResponse(wire, status, dict(headers) if headers else None)

    async def _refuse(self, request: Request, error: Exception) -> Response:
        """Answer an error in the one form every error has."""
        status, text, headers = _status_of(error), _text_of(error), getattr(error, "headers", None)
        body: dict[str, Any] = {"error": text}
        if isinstance(error, Refusal) and error.problems:
            body["problems"] = error.problems
        if status == HTTPStatus.CONFLICT:
            headers = {"x-should-retry": "false"}
        log.info("request.refused", call=_call_of(request), status=int(status), error=text)
        return self._answer(request, status, body, headers)


def _status_of(error: Exception) -> HTTPStatus:
    if isinstance(error, Refusal):
        return error.status
    if isinstance(error, HTTPException):
        return HTTPStatus(error.status_code)
    if isinstance(error, NotCreated):
        return STATUS_BY_REASON.get(error.failed.reason, HTTPStatus.INTERNAL_SERVER_ERROR)
    return STATUSES.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)


def _text_of(error: Exception) -> str:
    if isinstance(error, HTTPException):
        return str(error.detail)
    is_known = isinstance(error, Refusal | NotCreated) or type(error) in STATUSES
    return str(error) if is_known else "Internal Server Error"


def _call_of(request: Request) -> str:
    """Give the call as a name of few values; names of instances stay out of metrics."""
    path = request.url.path
    place = PLACES.get(path.rstrip("/"), "other")
    if place == "other" and path.startswith("/api/instances/"):
        place = "instance"
    method = request.method if request.method in {"GET", "POST", "DELETE"} else "OTHER"
    return f"{method} {place}"
