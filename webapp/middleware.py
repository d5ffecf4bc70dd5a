"""What every request passes first. The machine interfaces skip what only browsers need."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

MAX_CHUNKED_BYTES = 210 * 1024 * 1024  # a little over the largest upload any route accepts
CHUNK_BYTES = 64 * 1024

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class BodyLength:
    """WSGI wrapper: give a chunked request body its length.

    The server hands a chunked body over without CONTENT_LENGTH, and Django then reads none of it.
    The body is read here, up to `MAX_CHUNKED_BYTES`; one that is longer is answered 413.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Answer the request, its body measured first when nobody said how long it is."""
        if environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" not in environ:
            return self.application(environ, start_response)
        body = _read_bounded(environ["wsgi.input"])
        if body is None:
            return _too_large(start_response)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        return self.application(environ, start_response)


def _read_bounded(stream: Any) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > MAX_CHUNKED_BYTES:
            return None
        parts.append(chunk)
    return b"".join(parts)


def _too_large(start_response: Callable[..., Any]) -> list[bytes]:
    body = b'{"error": "Request body too large"}'
    start_response(
        "413 Content Too Large",
        [("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
    )
    return [body]
