"""The compute gateway as its callers see it: one method per call, a deadline, a checked answer.

The client repeats nothing: whether a repeat is safe is the caller's to know (`compute/retry.py`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from compute.connections import make_http_client
from compute.contracts import (
    GatewayWire,
    Instance,
    InstanceCreateRequest,
    InstanceCreateResponse,
    InstanceList,
    TemplateCreateRequest,
    TemplateCreateResponse,
)
from compute.reading import is_base_url
from compute.retry import CreateFailure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=GatewayWire)
CREATED = TypeAdapter(InstanceCreateResponse)
ONE = TypeAdapter(Instance)
ALL = TypeAdapter(InstanceList)
BUILT = TypeAdapter(TemplateCreateResponse)
CONNECT_TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 16 * 1024**2
MAX_ERROR_CHARS = 2000
NO_BODY_STATUSES = frozenset({202, 204})
DOTS = frozenset({"", ".", ".."})  # as a part of a path they lead elsewhere
DEADLINES = (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout, TimeoutError)


class GatewayError(Exception):
    """A call of the gateway failed. `brief` says so to people who are not to see its inside."""

    brief = "the service that prepares code failed"


class GatewayRefused(GatewayError):
    """The gateway answered with an error."""

    def __init__(self, status: int, body: str, url: str) -> None:
        super().__init__(f"Compute gateway request failed ({status}): {body}")
        self.brief = f"the service that prepares code answered with status {status}"
        self.status = status
        self.body = body
        self.url = url


class GatewayUnreachable(GatewayError):
    """No connection, or it broke; whether the call was carried out is not known."""

    brief = "the service that prepares code cannot be reached"


class GatewayTimeout(GatewayError):
    """No answer before the deadline; whether the call was carried out is not known."""

    brief = "no answer in time"


class GatewayUnreadable(GatewayError):
    """The gateway answered that it did it, in a form that cannot be read."""

    brief = "the service that prepares code gave an unreadable answer"


def failure_of(error: GatewayError) -> CreateFailure:
    """Give what the retry rules go by."""
    if isinstance(error, GatewayRefused):
        return CreateFailure(FailureKind.STATUS, error.status)
    if isinstance(error, GatewayTimeout):
        return CreateFailure(FailureKind.DEADLINE)
    if isinstance(error, GatewayUnreachable):
        return CreateFailure(FailureKind.NETWORK)
    return CreateFailure(FailureKind.UNREADABLE)


def instance_url(base_url: str, name: str = "") -> str:
    """Give the address of all instances, or of one. Pure.

    `base_url` may have a path and a trailing slash. Raises `ValueError` for an address nothing can
    be put behind, and for a name that would lead elsewhere.

    >>> instance_url("http://gateway:1/base/", "a/b")
    'http://gateway:1/base/api/instances/a%2Fb'
    """
    if not is_base_url(base_url):
        raise ValueError(f"{base_url!r} is no address of a gateway")
    instances = f"{base_url.rstrip('/')}/api/instances"
    if not name:
        return instances
    if name in DOTS:
        raise ValueError(f"{name!r} is no name of an instance")
    return f"{instances}/{quote(name, safe='')}"


class GatewayClient:
    """Calls of one gateway. Every method raises `GatewayError`."""

    def __init__(self, base_url: str, *, token: str, timeout_s: float = 30.0) -> None:
        """Take where the gateway is, its token ("" for none) and what a whole call may take."""
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._http = make_http_client(base_url)
        self._headers = {"Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        instance_url(base_url)  # a wrong address is told at once

    async def create(
        self, request: InstanceCreateRequest, *, request_id: str
    ) -> InstanceCreateResponse:
        """Start an instance; the same name and request id again give the same instance."""
        url = instance_url(self._base_url)
        status, body = await self._call("POST", url, request_id=request_id, message=request)
        if status in NO_BODY_STATUSES:
            raise GatewayUnreadable("Compute gateway returned no instance body")
        return _read(CREATED, body)

    async def get(self, name: str) -> Instance | None:
        """Give an instance, or None when there is none of this name."""
        try:
            _, body = await self._call("GET", instance_url(self._base_url, name))
        except GatewayRefused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return _read(ONE, body)

    async def list(self) -> list[Instance]:
        """Give every instance the gateway knows, other callers' included."""
        _, body = await self._call("GET", instance_url(self._base_url))
        return _read(ALL, body).data

    async def delete(self, name: str) -> bool:
        """End and forget an instance; False when there was none of this name."""
        try:
            await self._call("DELETE", instance_url(self._base_url, name))
        except GatewayRefused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    async def create_template(
        self, request: TemplateCreateRequest
    ) -> TemplateCreateResponse | None:
        """Prepare an image; None when the gateway goes on in the background."""
        url = f"{self._base_url.rstrip('/')}/api/templates"
        status, body = await self._call("POST", url, message=request)
        return None if status in NO_BODY_STATUSES else _read(BUILT, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(
        self,
        method: str,
        url: str,
        *,
        request_id: str = "",
        message: GatewayWire | None = None,
    ) -> tuple[int, bytes]:
        headers = dict(self._headers)
        if request_id:
            headers["x-request-id"] = request_id
        content = None
        if message is not None:
            headers["Content-Type"] = "application/json"
            content = message.model_dump_json(exclude_none=True, by_alias=True).encode()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._send(method, url, headers, content)
        except DEADLINES as error:
            text = f"no answer of the compute gateway within {self._timeout_s:g} s"
            raise GatewayTimeout(text) from error
        except httpx.DecodingError as error:
            raise GatewayUnreadable(f"the gateway's answer cannot be decoded: {error}") from error
        except httpx.TransportError as error:
            text = f"the compute gateway cannot be reached: {type(error).__name__}: {error}"
            raise GatewayUnreachable(text) from error
        if not httpx.codes.is_success(status):
            raise GatewayRefused(status, _error_text(body), url)
        return status, body

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[int, bytes]:
        timeout = httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S)
        async with self._http.stream(
            method, url, headers=dict(headers), content=content, timeout=timeout
        ) as response:
            chunks, size = [], 0
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    raise GatewayUnreadable(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
                chunks.append(chunk)
            return response.status_code, b"".join(chunks)


def _read(adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise GatewayUnreadable(f"unreadable answer of the gateway: {where}: {first['msg']}") from (
            error
        )


def _error_text(body: bytes) -> str:
    return body[:MAX_ERROR_CHARS].decode(errors="replace").strip() or "unknown error"
