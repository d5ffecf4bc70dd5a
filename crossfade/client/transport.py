"""HTTP for the client: headers, repeats with one idempotency key a call, errors with names."""

from __future__ import annotations

import random
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx

from crossfade.client.errors import ApiError, ConnectionFailed, MissingCredential
from crossfade.client.retry import Outcome, RetryPolicy, asked_wait_s, decide_wait_s, is_final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

API_VERSION = "2025-07-16"  # selects the modern status names
_FIRST_REFUSAL = 300
_UPLOAD_S = 300.0
_PIECE_BYTES = 64 * 1024


class Transport:
    """One base URL and key. Safe to use from several threads."""

    def __init__(
        self,
        api_url: str,
        secret_key: str,
        *,
        retries: RetryPolicy,
        timeout_s: float,
        source: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not secret_key:
            raise MissingCredential("no secret key: set TRIGGER_SECRET_KEY or pass secret_key=")
        if not secret_key.isascii() or not secret_key.isprintable():
            raise MissingCredential("the secret key holds characters that no key has")
        self.api_url = api_url.rstrip("/")
        self._retries = retries
        self._sleep = sleep
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_s),
            headers={
                "authorization": f"Bearer {secret_key}",
                "accept": "application/json",
                "user-agent": "crossfade-python",
                "x-trigger-api-version": API_VERSION,
                "x-trigger-source": source,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a call and give its JSON object.

        **Raises** ApiError with the server's text; ConnectionFailed when no answer came.
        """
        response = self._send(method, self.api_url + path, json=body, params=params)
        return _json_object(response)

    def call_list(self, method: str, path: str, *, body: Any, timeout_s: float) -> list[Any]:
        """Make a call that may be answered late, and give its JSON list."""
        url = self.api_url + path
        value = self._send(method, url, json=body, timeout=timeout_s).json()
        if not isinstance(value, list):
            raise ApiError(200, f"{method} {path} did not answer with a list")
        return value

    def upload(
        self, url: str, data: bytes, *, on_sent: Callable[[int, int], None] | None = None
    ) -> None:
        """PUT bytes to a URL the platform named; a repeat stores the same bytes again."""
        target = url if "://" in url else self.api_url + url
        headers = {"content-type": "application/octet-stream", "content-length": str(len(data))}
        content = data if on_sent is None else _Told(data, on_sent)
        self._send("PUT", target, content=content, headers=headers, timeout=_UPLOAD_S)

    @contextmanager
    def stream(self, path: str, body: Any, *, timeout_s: float) -> Iterator[Iterator[str]]:
        """POST and give the lines of the answer as they come. Not repeated.

        **Args** `timeout_s` is the longest silence between two lines.
        """
        request = self._http.build_request(
            "POST", self.api_url + path, json=body, timeout=timeout_s, headers=_call_headers()
        )
        try:
            response = self._http.send(request, stream=True)
            try:
                if response.status_code >= _FIRST_REFUSAL:
                    response.read()
                    raise _api_error(response)
                yield response.iter_lines()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise ConnectionFailed(f"POST {path}: {_named(error)}") from error

    def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        headers = {**options.pop("headers", {}), **_call_headers()}
        attempt = 0
        while True:
            attempt += 1
            problem: ApiError | ConnectionFailed
            try:
                request = self._http.build_request(method, url, headers=headers, **options)
                if not url.startswith(self.api_url + "/"):
                    del request.headers[
                        "authorization"
                    ]  # a store of objects is not to have our key
                response = self._http.send(request)
            except httpx.TransportError as error:
                outcome = Outcome(None, {})
                problem = ConnectionFailed(f"{method} {url}: {_named(error)}")
            else:
                if response.status_code < _FIRST_REFUSAL:
                    return response
                outcome = Outcome(response.status_code, response.headers)
                problem = _api_error(response)
            wait_s = decide_wait_s(
                self._retries,
                outcome,
                attempt=attempt,
                now_ms=time.time() * 1000,
                jitter=random.random(),  # noqa: S311 - spreads waits, guards nothing
            )
            if wait_s is None:
                raise problem
            self._sleep(wait_s)


class _Told:
    """Bytes that are sent piece by piece, each of which is told; from the start at every try."""

    def __init__(self, data: bytes, on_sent: Callable[[int, int], None]) -> None:
        self._data = data
        self._on_sent = on_sent

    def __iter__(self) -> Iterator[bytes]:
        whole = len(self._data)
        for start in range(0, whole, _PIECE_BYTES):
            yield self._data[start : start + _PIECE_BYTES]
            self._on_sent(min(start + _PIECE_BYTES, whole), whole)


def _call_headers() -> dict[str, str]:
    return {"x-trigger-request-idempotency-key": str(uuid.uuid4())}


def _named(error: httpx.TransportError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _json_object(response: httpx.Response) -> dict[str, Any]:
    if not response.content.strip():
        return {}
    try:
        value = response.json()
    except ValueError as error:
        raise ApiError(
            response.status_code, "the answer is no JSON", request=_asked(response)
        ) from error
    return value if isinstance(value, dict) else {"data": value}


def _api_error(response: httpx.Response) -> ApiError:
    try:
        value = response.json()
    except ValueError:
        value = None
    told = value if isinstance(value, dict) else {}
    error = told.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    problems = told.get("problems")
    return ApiError(
        response.status_code,
        error if isinstance(error, str) else _text_of(response),
        tuple(item for item in problems if isinstance(item, dict))
        if isinstance(problems, list)
        else (),
        request=_asked(response),
        wait_s=None if is_final(response.headers) else asked_wait_s(response.headers),
    )


def _text_of(response: httpx.Response) -> str:
    """Give what an answer without an error of ours says; whoever sends a page is no platform."""
    if response.has_redirect_location:  # a key is not carried to wherever somebody points
        return f"it is to be found at {response.headers['location']}; is this the right address?"
    if "html" in response.headers.get("content-type", ""):
        return "a web page came in place of an answer; is this the platform's address?"
    return response.text[:300].strip() or "no message"


def _asked(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url.path}"
