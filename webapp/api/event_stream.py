"""Server-sent events for an operation that takes a while: pings until it is done, then its end.

The operation runs in a thread of its own, so that pings go out while the database lets it wait.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from django.http import StreamingHttpResponse

from ledger.connections import release_connections
from webapp.api.errors import answer_for, log_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Work = Callable[[Callable[[str], None]], Mapping[str, Any]]
    """An operation; it is handed what takes a line for the one who waits."""

PING_EVERY_S: Final = 10.0
# Whoever compresses on the way would collect events first.
NEVER_BUFFERED: Final = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


def event_text(name: str, data: Mapping[str, Any]) -> bytes:
    r"""Give one event as it travels.

    >>> event_text("ping", {})
    b'event: ping\ndata: {}\n\n'
    """
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def stream_response(
    work: Work, *, opening: str, ping_every_s: float = PING_EVERY_S
) -> StreamingHttpResponse:
    """Answer with the events of `work`: log lines, pings, then `complete` or `error`."""
    return StreamingHttpResponse(
        events_of(work, opening=opening, ping_every_s=ping_every_s),
        content_type="text/event-stream",
        headers=NEVER_BUFFERED,
    )


def events_of(work: Work, *, opening: str, ping_every_s: float) -> Iterator[bytes]:
    """Run `work` and give its events; a client that leaves does not stop it."""
    release_connections()  # this thread only waits from here on
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-stream")
    lines: SimpleQueue[str | None] = SimpleQueue()  # None: it is over
    future = pool.submit(_run, work, lines.put)
    future.add_done_callback(lambda _: lines.put(None))
    pool.shutdown(wait=False)
    yield event_text("log", {"message": opening})
    while (event := _next_event(lines, ping_every_s)) is not None:
        yield event
    yield _last_event(future)


def _run(work: Work, report: Callable[[str], None]) -> Mapping[str, Any]:
    try:
        return work(report)
    finally:
        release_connections()


def _next_event(lines: SimpleQueue[str | None], wait_s: float) -> bytes | None:
    try:
        line = lines.get(timeout=wait_s)
    except Empty:
        return event_text("ping", {})
    return None if line is None else event_text("log", {"message": line})


def _last_event(future: Future[Mapping[str, Any]]) -> bytes:
    error = future.exception()
    if error is None:
        return event_text("complete", future.result())
    if not isinstance(error, Exception):
        raise error
    answer = answer_for(error)
    log_failure(answer, error)
    # The stream has a status already: a caller learns here whether a repeat may help.
    return event_text("error", {"error": answer.message, "status": answer.status})
