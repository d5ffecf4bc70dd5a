"""What a request says: who asks, for what, checked before anything else happens."""

from __future__ import annotations

import asyncio
import re
from hmac import compare_digest
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from compute.throttle import WRONG_CREDENTIALS, Buckets, place_of_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

MAX_BODY_BYTES = 1024**2
BODY_TIMEOUT_S = 15.0
MAX_PROBLEMS = 20
BEARER = "bearer "
TOO_MANY = "Too many wrong tokens from this address; wait a moment"
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

T = TypeVar("T", bound=BaseModel)


class Refusal(Exception):  # it is an answer, not a fault
    """A call that is answered with an error."""

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        problems: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.problems = problems
        self.headers = headers


class GatewayToken:
    """The token of a gateway, and who has shown wrong ones."""

    def __init__(self, token: str) -> None:
        self.token = token.encode()
        self.wrong = Buckets(WRONG_CREDENTIALS)


def check_token(request: Request, token: GatewayToken) -> None:
    """Raise 401 unless the request carries the gateway's token, 429 after too many wrong ones.

    It takes the same time for any. Who shows none guesses nothing, and a right one passes whatever
    its address has shown before.
    """
    value = request.headers.get("authorization", "")
    given = value[len(BEARER) :].strip() if value[: len(BEARER)].lower() == BEARER else ""
    if compare_digest(given.encode(), token.token):
        return
    wait_s = token.wrong.fail(_place_of(request), monotonic()) if given else 0
    if wait_s:
        headers = {"retry-after": str(wait_s), "x-should-retry": "false"}
        raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY, headers=headers)
    raise Refusal(HTTPStatus.UNAUTHORIZED, "Invalid or missing gateway token")


def _place_of(request: Request) -> str:
    return place_of_address(request.client.host) if request.client else ""


def request_id_of(request: Request) -> str:
    """Give the id the caller gave its request, "" for none or one that is no id."""
    value = request.headers.get("x-request-id", "")
    return value if REQUEST_ID.fullmatch(value) else ""


async def read_body(request: Request, model: type[T]) -> T:
    """Give the message of a request; 400 when it is none, 408 and 413 when it is out of bounds."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await _bounded(request)
    except TimeoutError as error:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time") from error
    except ClientDisconnect as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "the body broke off") from error
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        problems = [
            {"key": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]}
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        text = f"{problems[0]['key']}: {problems[0]['message']}"
        raise Refusal(HTTPStatus.BAD_REQUEST, text, problems[:MAX_PROBLEMS]) from error


async def _bounded(request: Request) -> bytes:
    too_large = f"the body is larger than {MAX_BODY_BYTES} bytes"
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large)
        chunks.append(chunk)
    return b"".join(chunks)
