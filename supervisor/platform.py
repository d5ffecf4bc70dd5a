"""The platform as a supervisor sees it: typed calls with deadlines, retries and one key each.

Every call ends as `Ok`, `Refused` (the platform answered and means it) or `Unreachable` (nobody can
know whether it happened; the same idempotency key may be sent again). Nothing raises.

Source: the worker API of `docs/worker-api.md`; retry rules as the public supervisor client has
them, but 409 is final: what is stale stays stale.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import TypeAdapter, ValidationError

from compute.connections import stream_artifact
from runs.contracts import (
    CompleteAttempt,
    ConnectAnswer,
    ConnectRequest,
    DequeuedMessage,
    DequeueRequest,
    DispatchFailed,
    RunExecutionData,
    Wire,
    WorkerHeartbeat,
)
from runs.contracts import (
    Ok as OkAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
BASE = "/engine/v1/worker-actions"
IDEMPOTENCY_HEADER = "x-trigger-request-idempotency-key"
RUNNER_HEADER = "x-trigger-worker-runner-id"
ENVIRONMENT_HEADER = "x-trigger-worker-environment-id"
CONNECTED = TypeAdapter(ConnectAnswer)
DONE = TypeAdapter(OkAnswer)
LEASES = TypeAdapter(list[DequeuedMessage])
LATEST = TypeAdapter(dict[str, RunExecutionData])
ANYTHING = TypeAdapter(dict[str, Any])
MAX_ERROR_CHARS = 1000
MAX_WAIT_S = 30.0  # what a rate limit may ask for
LONG_POLL_S = 45.0  # a dequeue answers empty after the platform's own wait, 10 s by default


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The platform did it."""

    value: T


@dataclass(frozen=True, slots=True)
class Refused:
    """The platform answered, and no repeat is worthwhile now."""

    status: int
    error: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer came; whether the request was carried out is not known."""

    error: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer handed on unread."""

    status: int
    body: bytes
    content_type: str
    should_retry: str | None  # the header x-should-retry


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and how long apart, one request is sent."""

    attempts: int = 5
    first_delay_s: float = 0.5
    max_delay_s: float = 5.0

    def delay_s(self, attempt: int) -> float:
        """Give the pause after the attempt with this number, the first being 1."""
        return min(self.max_delay_s, self.first_delay_s * 2.0 ** (attempt - 1))


RELAY_RETRIES = RetryPolicy(attempts=2, first_delay_s=0.2)  # runners repeat by themselves


def is_retryable(status: int, should_retry: str | None) -> bool:
    """Say whether an answer with this status is worth another try; the platform's word wins."""
    if should_retry in {"true", "false"}:
        return should_retry == "true"
    retryable = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    return status in retryable or status >= HTTPStatus.INTERNAL_SERVER_ERROR


class PlatformClient:
    """The worker API with the credentials of one worker group."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        token: str,
        managed_secret: str,
        instance_name: str,
        retries: RetryPolicy | None = None,
    ) -> None:
        self._http = http
        self._retries = retries or RetryPolicy()
        self._headers = {
            "Authorization": f"Bearer {token}",
            "x-trigger-worker-instance-name": instance_name,
            "x-trigger-worker-managed-secret": managed_secret,
        }

    async def connect(self, metadata: dict[str, Any]) -> Ok[ConnectAnswer] | Refused | Unreachable:
        """Say hello; the answer names the worker group."""
        request = ConnectRequest(metadata=metadata)
        return await self._call("POST", f"{BASE}/connect", CONNECTED, body=request)

    async def heartbeat(self, beat: WorkerHeartbeat) -> Ok[OkAnswer] | Refused | Unreachable:
        """Say that this supervisor is alive; the next beat is the retry."""
        once = RetryPolicy(attempts=1)
        return await self._call(
            "POST", f"{BASE}/heartbeat", DONE, body=beat, timeout_s=5, retries=once
        )

    async def dequeue(
        self, request: DequeueRequest, *, key: str
    ) -> Ok[list[DequeuedMessage]] | Refused | Unreachable:
        """Ask for runs and wait; the same key gives the same lease, so a lost answer is no loss."""
        return await self._call(
            "POST",
            f"{BASE}/dequeue",
            LEASES,
            body=request,
            key=key,
            timeout_s=LONG_POLL_S,
        )

    async def dispatch_failed(
        self, run_id: str, snapshot_id: str, failure: DispatchFailed
    ) -> Ok[OkAnswer] | Refused | Unreachable:
        """Report that no workload could be started for a lease."""
        path = f"{_snapshot_path(run_id, snapshot_id)}/dispatch-failed"
        return await self._call("POST", path, DONE, body=failure)

    async def complete(
        self, run_id: str, snapshot_id: str, completion: CompleteAttempt, *, runner_id: str
    ) -> Ok[dict[str, Any]] | Refused | Unreachable:
        """End an attempt in the name of a runner that died."""
        path = f"{_snapshot_path(run_id, snapshot_id)}/attempts/complete"
        headers = {RUNNER_HEADER: runner_id}
        return await self._call("POST", path, ANYTHING, body=completion, headers=headers)

    async def latest(
        self, run_id: str, *, runner_id: str
    ) -> Ok[RunExecutionData] | Refused | Unreachable:
        """Give the run at its latest snapshot."""
        path = f"{BASE}/runs/{quote(run_id, safe='')}/snapshots/latest"
        result = await self._call("GET", path, LATEST, headers={RUNNER_HEADER: runner_id})
        if isinstance(result, Ok) and "execution" in result.value:
            return Ok(result.value["execution"])
        return result if not isinstance(result, Ok) else Refused(200, "no execution in the answer")

    async def relay(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str],
        timeout_s: float = 15.0,
    ) -> Answer | Unreachable:
        """Hand a runner's request on and give back whatever the platform says."""
        all_headers = {IDEMPOTENCY_HEADER: str(uuid4()), **headers}
        sent = await self._send(
            method, path, body, all_headers, timeout_s=timeout_s, retries=RELAY_RETRIES
        )
        if isinstance(sent, Unreachable):
            return sent
        return Answer(
            status=sent.status_code,
            body=sent.content,
            content_type=sent.headers.get("content-type", "application/json"),
            should_retry=sent.headers.get("x-should-retry"),
        )

    def stream_artifact(self, image: str) -> Any:
        """Open the download of a deployment's code; an async context manager of a response."""
        return stream_artifact(self._http, image, self._headers)

    async def _call(
        self,
        method: str,
        path: str,
        answers: TypeAdapter[T],
        *,
        body: Wire | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout_s: float = 15.0,
        retries: RetryPolicy | None = None,
    ) -> Ok[T] | Refused | Unreachable:
        content = json.dumps(body.to_wire()).encode() if body is not None else b""
        all_headers = {IDEMPOTENCY_HEADER: key or str(uuid4()), **(headers or {})}
        sent = await self._send(
            method, path, content, all_headers, timeout_s=timeout_s, retries=retries
        )
        if isinstance(sent, Unreachable):
            return sent
        if not sent.is_success:
            return Refused(sent.status_code, _error_text(sent))
        try:
            return Ok(answers.validate_json(sent.content))
        except ValidationError as error:
            first = error.errors()[0]
            return Refused(sent.status_code, f"unreadable answer: {first['loc']} {first['msg']}")

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        retries: RetryPolicy | None,
    ) -> httpx.Response | Unreachable:
        policy = retries or self._retries
        attempt = 1
        while True:
            sent = await self._send_once(method, path, body, headers, timeout_s)
            if isinstance(sent, httpx.Response) and not is_retryable(
                sent.status_code, sent.headers.get("x-should-retry")
            ):
                return sent
            if attempt >= policy.attempts:
                return sent
            await asyncio.sleep(max(policy.delay_s(attempt), _asked_delay_s(sent)))
            attempt += 1

    async def _send_once(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> httpx.Response | Unreachable:
        content_type = {"Content-Type": "application/json"} if method == "POST" else {}
        try:
            async with asyncio.timeout(timeout_s):
                return await self._http.request(
                    method,
                    path,
                    content=body,
                    headers={**self._headers, **content_type, **headers},
                    timeout=httpx.Timeout(timeout_s, connect=5.0),
                )
        except (httpx.HTTPError, TimeoutError) as error:
            return Unreachable(f"{type(error).__name__}: {error}")


def _asked_delay_s(sent: httpx.Response | Unreachable) -> float:
    if isinstance(sent, Unreachable) or sent.status_code != HTTPStatus.TOO_MANY_REQUESTS:
        return 0.0
    reset = sent.headers.get("x-ratelimit-reset", "")
    return min(MAX_WAIT_S, max(0.0, int(reset) / 1000 - time.time())) if reset.isdigit() else 0.0


def _snapshot_path(run_id: str, snapshot_id: str) -> str:
    return f"{BASE}/runs/{quote(run_id, safe='')}/snapshots/{quote(snapshot_id, safe='')}"


def _error_text(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.text[:MAX_ERROR_CHARS]
    text = body.get("error") if isinstance(body, dict) else None
    return str(text if text is not None else body)[:MAX_ERROR_CHARS]
