"""What a request body passes before Django sees it: its length is known and within the limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

MIB: Final = 1024 * 1024
CHUNK_BYTES: Final = 64 * 1024
DRAINED_BYTES: Final = 64 * MIB  # of a body that is refused; past that the connection may break

TRIGGER_BYTES: Final = 3_145_728
DEFAULT_BYTES: Final = 4 * MIB
# By the end of the path; a route that is not here takes the default.
LIMITS: Final[tuple[tuple[str, int], ...]] = (
    ("/trigger", TRIGGER_BYTES),
    ("/attempts/complete", 32 * MIB),  # an output of 10 MB, escaped once more
    ("/logs", 32 * MIB),
    ("/background-workers", 16 * MIB),
)
UPLOADS: Final = "/api/v1/artifacts/upload/"
UPLOAD_BYTES: Final = 201 * MIB  # the route itself checks the size that was announced

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Any]


def body_limit(path: str) -> int:
    """Give the bytes a request to this path may have.

    >>> body_limit("/api/v1/tasks/hello/trigger")
    3145728
    """
    if path.startswith(UPLOADS):
        return UPLOAD_BYTES
    return next((limit for end, limit in LIMITS if path.endswith(end)), DEFAULT_BYTES)


class BodyLimit:
    """WSGI wrapper: refuse bodies that are too large, and give chunked ones their length.

    The server hands a chunked body over without CONTENT_LENGTH, and Django then reads none of it.
    A refused body is read and forgotten, up to a bound, so that its sender hears the answer.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        """Answer the request, or 413 in its place."""
        length = environ.get("CONTENT_LENGTH")
        if not length and "HTTP_TRANSFER_ENCODING" not in environ:
            return self.application(environ, start_response)
        limit = body_limit(environ.get("PATH_INFO", ""))
        if length and length.isdecimal():
            if int(length) <= limit:
                return self.application(environ, start_response)
            _drain(environ["wsgi.input"])
            return _refuse(limit, start_response)
        body = _read_within(environ["wsgi.input"], limit)
        if body is None:
            return _refuse(limit, start_response)
        known = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return self.application(known, start_response)


def _read_within(stream: Any, limit: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            _drain(stream)
            return None
        parts.append(chunk)
    return b"".join(parts)


def _drain(stream: Any) -> None:
    left = DRAINED_BYTES
    while left > 0 and (chunk := stream.read(CHUNK_BYTES)):
        left -= len(chunk)


def _refuse(limit: int, start_response: StartResponse) -> list[bytes]:
    body = json.dumps({"error": f"Request body too large: at most {limit} bytes"}).encode()
    start_response(
        "413 Content Too Large",
        [("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
    )
    return [body]
