"""What a request body passes before Django sees it: its length is known and within the limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
CHUNK_BYTES: Final = 64 * 1024
DRAINED_BYTES: Final = 64 * MIB  # of a body that is refused; past that the connection may break

MEMORY_BYTES: Final = 4 * MIB  # of a body without a length; the rest of it waits on disk

TRIGGER_BYTES: Final = 3_145_728
DEFAULT_BYTES: Final = 4 * MIB
BATCH_ITEM_BYTES: Final = TRIGGER_BYTES
BATCH_BYTES: Final = 1024 * MIB  # all items of one upload
# By the end of the path; a route that is not here takes the default.
LIMITS: Final[tuple[tuple[str, int], ...]] = (
    ("/trigger", TRIGGER_BYTES),
    ("/attempts/complete", 32 * MIB),  # an output of 10 MB, escaped once more
    ("/logs", 32 * MIB),
    ("/background-workers", 16 * MIB),
    ("/feature-flags", 64 * KIB),  # a problem is named for each wrong key
    ("/api/v3/batches", 128 * KIB),
    ("/api/v2/tasks/batch", MIB),
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
    if is_streamed(path):
        return BATCH_BYTES
    return next((limit for end, limit in LIMITS if path.endswith(end)), DEFAULT_BYTES)


def is_streamed(path: str) -> bool:
    """Tell whether the view reads the body itself, piece by piece, and counts what it reads.

    >>> is_streamed("/api/v3/batches/batch_1/items"), is_streamed("/api/v3/batches")
    (True, False)
    """
    return path.startswith("/api/v3/batches/") and path.endswith("/items")


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
            drain(environ["wsgi.input"])
            return _refuse(limit, start_response)
        if is_streamed(environ.get("PATH_INFO", "")):
            # Django reads no further than a length: any beyond the limit lets the view see the end.
            return self.application({**environ, "CONTENT_LENGTH": str(limit + 1)}, start_response)
        with SpooledTemporaryFile(MEMORY_BYTES) as body:
            size = _copy_within(environ["wsgi.input"], body, limit)
            if size is None:
                return _refuse(limit, start_response)
            known = {**environ, "wsgi.input": body, "CONTENT_LENGTH": str(size)}
            return self.application(known, start_response)


def _copy_within(stream: Any, body: SpooledTemporaryFile[bytes], limit: int) -> int | None:
    """Copy a stream to the start of a file and give its size; None when it is too large."""
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            drain(stream)
            return None
        body.write(chunk)
    body.seek(0)
    return size


def drain(stream: Any) -> None:
    """Read what is left of a body, up to a bound, so that its sender hears the answer."""
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
