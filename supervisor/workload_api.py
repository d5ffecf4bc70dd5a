"""The API runners call, handed on to the platform.

Each call is checked, sent on with the credentials of the run's worker group, and answered with
whatever the platform says, status included.

The runner's idempotency key travels with the call, so that an answer that was lost on either hop is
given again. What passes by is noted: it tells how far each workload got.
"""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from compute.throttle import WRONG_CREDENTIALS, Buckets, place_of_address
from supervisor.flights import Flight, Flights, Phase
from supervisor.platform import (
    BASE,
    ENVIRONMENT_HEADER,
    IDEMPOTENCY_HEADER,
    RUNNER_HEADER,
    Answer,
    Unreachable,
)
from supervisor.tokens import Shown, TokenKind, classify_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from supervisor.env import Enforcement
    from supervisor.groups import Group
    from supervisor.metrics import Metrics

PREFIX = "/api/v1/workload-actions"
SNAPSHOT = PREFIX + "/runs/{run}/snapshots/{snapshot}"
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
NOT_VALID = "the deployment token is missing or not valid"
TOO_MANY = "too many wrong deployment tokens from this address; wait a moment"
MAX_BODY_BYTES = 16 * 1024**2
FOREIGN_STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
OVER_STATUSES = frozenset({"RUN_FINISHED", "RETRY_QUEUED"})

Call = Literal["start", "complete", "heartbeat", "continue", "since", "logs"]
SCOPED_CALLS = frozenset({"start", "complete", "continue", "since"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """How deployment tokens are judged."""

    secret: str
    enforcement: Enforcement


class Refusal(Exception):  # it is an answer, not a fault
    """A call that is answered here and not handed on."""

    def __init__(
        self, status: HTTPStatus, error: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers


class WorkloadApi:
    """The calls of runners, and whom they are handed to."""

    def __init__(
        self, groups: Sequence[Group], *, flights: Flights, tokens: TokenRules, metrics: Metrics
    ) -> None:
        self._groups = groups
        self._flights = flights
        self._tokens = tokens
        self._metrics = metrics
        self._wrong_tokens = Buckets(WRONG_CREDENTIALS)

    def app(self) -> Starlette:
        """Give the application."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route(f"{SNAPSHOT}/attempts/start", self._start, methods=["POST"]),
                Route(f"{SNAPSHOT}/attempts/complete", self._complete, methods=["POST"]),
                Route(f"{SNAPSHOT}/heartbeat", self._heartbeat, methods=["POST"]),
                Route(f"{SNAPSHOT}/continue", self._continue),
                Route(f"{SNAPSHOT}/suspend", self._suspend),
                Route(PREFIX + "/runs/{run}/snapshots/since/{snapshot}", self._since),
                Route(PREFIX + "/runs/{run}/logs", self._logs, methods=["POST"]),
                Route(PREFIX + "/runs/{run}/logs/debug", self._debug, methods=["POST"]),
            ],
            exception_handlers={Refusal: _refuse},
        )

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("OK\n")

    async def _start(self, request: Request) -> Response:
        return await self._relay(request, "start", "/attempts/start")

    async def _complete(self, request: Request) -> Response:
        return await self._relay(request, "complete", "/attempts/complete")

    async def _heartbeat(self, request: Request) -> Response:
        return await self._relay(request, "heartbeat", "/heartbeat")

    async def _continue(self, request: Request) -> Response:
        return await self._relay(request, "continue", "/continue")

    async def _since(self, request: Request) -> Response:
        run, snapshot = _id(request, "run"), _id(request, "snapshot")
        return await self._hand_on(request, "since", run, f"/runs/{run}/snapshots/since/{snapshot}")

    async def _logs(self, request: Request) -> Response:
        run = _id(request, "run")
        return await self._hand_on(request, "logs", run, f"/runs/{run}/logs")

    async def _debug(self, _request: Request) -> Response:
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _suspend(self, request: Request) -> Response:
        self._judge(request, _id(request, "run"))
        names = ("runner-id", "deployment-version", "project-ref")
        complete = all(request.headers.get(f"x-trigger-workload-{name}") for name in names)
        error = "Checkpoints disabled" if complete else "Invalid headers"
        return JSONResponse({"ok": False, "error": error}, HTTPStatus.BAD_REQUEST)

    async def _relay(self, request: Request, call: Call, suffix: str) -> Response:
        run, snapshot = _id(request, "run"), _id(request, "snapshot")
        return await self._hand_on(request, call, run, f"/runs/{run}/snapshots/{snapshot}{suffix}")

    async def _hand_on(self, request: Request, call: Call, run: str, path: str) -> Response:
        shown = self._judge(request, run)
        headers = _headers(request, shown if call in SCOPED_CALLS else None)
        body = await _body(request) if request.method == "POST" else b""
        flight = self._flights.find(headers.get(RUNNER_HEADER), run)
        with flight.relaying() if flight else nullcontext():
            answer = await self._ask(run, request.method, BASE + path, body, headers)
            if flight is not None and isinstance(answer, Answer):
                note(flight, call, answer)
        status = answer.status if isinstance(answer, Answer) else HTTPStatus.SERVICE_UNAVAILABLE
        self._metrics.relays.labels(call=call, status=str(int(status))).inc()
        if isinstance(answer, Unreachable):
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the platform cannot be reached")
        return _handed_back(answer)

    async def _ask(
        self, run: str, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> Answer | Unreachable:
        """Ask with the group of the run; a run of an earlier process is tried with each."""
        known = self._flights.group_of(run)
        answer: Answer | Unreachable = Unreachable("no worker group")
        for group in [known] if known else self._groups:
            answer = await group.client.relay(method, path, body=body, headers=headers)
            if isinstance(answer, Answer) and answer.status < HTTPStatus.BAD_REQUEST:
                self._flights.remember(run, group)
            if isinstance(answer, Unreachable) or answer.status not in FOREIGN_STATUSES:
                return answer
        return answer

    def _judge(self, request: Request, run: str) -> Shown | None:
        """Check the deployment token; give it when it may speak for its environment.

        A run whose workload was given a token by this process must show a valid one; runners of
        other origin may come without.
        """
        if self._tokens.enforcement == "disabled":
            return None
        value = request.headers.get("x-trigger-workload-deployment-id")
        shown = classify_token(value, secret=self._tokens.secret, now=datetime.now(UTC))
        self._metrics.tokens.labels(outcome=shown.kind).inc()
        if self._tokens.enforcement == "log":
            return None
        given = any(flight.token for flight in self._flights.of_run(run))
        if shown.kind is TokenKind.INVALID or (given and shown.kind is not TokenKind.VALID):
            raise self._wrong_token(request, is_shown=shown.kind is not TokenKind.ABSENT)
        return shown

    def _wrong_token(self, request: Request, *, is_shown: bool) -> Refusal:
        """Count a token that was wrong; give the 401, or 429 after too many from its address."""
        place = place_of_address(request.client.host) if request.client else ""
        wait_s = self._wrong_tokens.fail(place, monotonic()) if is_shown else 0
        if wait_s == 0:
            return Refusal(HTTPStatus.UNAUTHORIZED, NOT_VALID)
        headers = {"retry-after": str(wait_s), "x-should-retry": "false"}
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY, headers)


def note(flight: Flight, call: Call, answer: Answer) -> None:
    """Learn from the platform's answer how far a workload got."""
    if answer.status == HTTPStatus.CONFLICT and call == "start":
        flight.finish()  # the run is somebody else's by now
    if answer.status != HTTPStatus.OK or call not in {"start", "complete"}:
        return
    told = json.loads(answer.body)
    if call == "start":
        flight.phase = Phase.EXECUTING
        flight.snapshot_id = told["snapshot"]["friendlyId"]
        flight.attempt = told["run"].get("attemptNumber", flight.attempt)
        return
    result = told["result"]
    if result["attemptStatus"] == "RETRY_IMMEDIATELY":
        flight.snapshot_id = result["snapshot"]["friendlyId"]
    else:
        flight.finish()


def _id(request: Request, name: str) -> str:
    """Give an id of the path; what could be anything but an id never reaches the platform."""
    value = str(request.path_params[name])
    if not ID.fullmatch(value):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name}: not an id")
    return quote(value, safe="")


def _headers(request: Request, shown: Shown | None) -> dict[str, str]:
    forwarded = {
        RUNNER_HEADER: request.headers.get("x-trigger-workload-runner-id", ""),
        IDEMPOTENCY_HEADER: request.headers.get(IDEMPOTENCY_HEADER, ""),
        "traceparent": request.headers.get("traceparent", ""),
        ENVIRONMENT_HEADER: shown.claims.environment_id if shown and shown.claims else "",
    }
    return {name: value for name, value in forwarded.items() if value}


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            text = f"the body is larger than {MAX_BODY_BYTES} bytes"
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        chunks.append(chunk)
    return b"".join(chunks) or b"{}"


def _handed_back(answer: Answer) -> Response:
    headers = {"content-type": answer.content_type}
    should_retry = "false" if answer.status == HTTPStatus.CONFLICT else answer.should_retry
    if should_retry is not None:
        headers["x-should-retry"] = should_retry
    return Response(answer.body, answer.status, headers)


def _error(status: HTTPStatus, text: str) -> Response:
    return JSONResponse({"error": text}, status)


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse({"error": error.error}, error.status, error.headers)
