"""A small load generator: keep-alive connections on one event loop, requests made beforehand.

It shares the machine with what it measures, so it does as little as it can for each request. An
open loop sends at a fixed rate whatever the server does, and counts the time from the moment a
request was due, not from when it could be sent: a server that stalls is charged for all who waited.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import getrandbits

from webapp.embedded.ports import LOOPBACK

# The view that does nothing, in `bench/urls.py`. Below /api/: machines pay for no sessions or forms
# there, so it passes the same middlewares as a trigger.
EMPTY_PATH = "/api/v1/bench/empty"
OK_LINES = (b"HTTP/1.1 200", b"HTTP/1.1 202")
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
DRAIN_S = 10.0
CONNECT_S = 10.0

Request = Callable[[], bytes]


class LoadFailed(Exception):
    """The server refused a request or hung up; the message carries what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of a load."""

    answered: int
    elapsed_s: float
    latencies_ms: list[float]
    generator_cores: float  # what this process itself used, in CPU seconds a second

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answered / self.elapsed_s


def post_request(path: str, *, key: str, body: bytes) -> Request:
    """Give what makes the bytes of one POST; each carries a request key of its own.

    That is what a client of the protocol sends: the key makes a repeat after a lost answer safe.
    """
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {LOOPBACK}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"x-trigger-request-idempotency-key: "
    ).encode()
    tail = HEAD_END + body
    return lambda: b"%b%032x%b" % (head, getrandbits(128), tail)


async def closed_loop(port: int, request: Request, *, connections: int, for_s: float) -> Load:
    """Send on every connection as soon as the answer before is there. Raise `LoadFailed`."""
    crew = _Crew(port)
    await crew.connect(connections)
    end = time.perf_counter() + for_s

    def again(connection: _Connection, now: float) -> None:
        if now < end:
            connection.send(request(), now)

    async def begin() -> None:
        for connection in crew.connections:
            connection.send(request(), time.perf_counter())

    return await crew.run(again, begin, limit_s=for_s + DRAIN_S)


async def open_loop(
    port: int, request: Request, *, connections: int, rate_per_s: float, for_s: float
) -> Load:
    """Send at a fixed rate; requests that find no free connection wait, and the wait counts.

    Raise `LoadFailed`.
    """
    crew = _Crew(port)
    await crew.connect(connections)
    waiting: deque[float] = deque()
    idle = list(crew.connections)

    def freed(connection: _Connection, _now: float) -> None:
        if waiting:
            connection.send(request(), waiting.popleft())
        else:
            idle.append(connection)

    async def pace() -> None:
        start = time.perf_counter()
        for number in range(int(rate_per_s * for_s)):
            due = start + number / rate_per_s
            if (early_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            if idle:
                idle.pop().send(request(), due)
            else:
                waiting.append(due)

    return await crew.run(freed, pace, limit_s=for_s + DRAIN_S)


class _Crew:
    """The connections of one load."""

    def __init__(self, port: int) -> None:
        self.connections: list[_Connection] = []
        self.latencies_ms: list[float] = []
        self._port = port
        self._busy = 0
        self._begun = False
        self._ended = 0.0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done: Callable[[_Connection, float], None] = lambda _connection, _now: None

    async def connect(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(number):
            making = loop.create_connection(lambda: _Connection(self), LOOPBACK, self._port)
            _, connection = await asyncio.wait_for(making, CONNECT_S)
            self.connections.append(connection)

    async def run(
        self,
        done: Callable[[_Connection, float], None],
        begin: Callable[[], Awaitable[None]],
        *,
        limit_s: float,
    ) -> Load:
        self._done = done
        cpu, started = time.process_time(), time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                await begin()
                self._begun = True
                self._look_if_over()
                await self._over
        except TimeoutError:
            raise LoadFailed(f"not all requests were answered within {limit_s:g} s") from None
        finally:
            for connection in self.connections:
                connection.close()
        elapsed_s = self._ended - started
        return Load(
            answered=len(self.latencies_ms),
            elapsed_s=elapsed_s,
            latencies_ms=self.latencies_ms,
            generator_cores=(time.process_time() - cpu) / elapsed_s,
        )

    def sent(self) -> None:
        self._busy += 1

    def answered(self, connection: _Connection, due: float) -> None:
        self._busy -= 1
        self._ended = now = time.perf_counter()
        self.latencies_ms.append((now - due) * 1000)
        self._done(connection, now)
        if not self._busy:
            self._look_if_over()

    def fail(self, why: str) -> None:
        if not self._over.done():
            self._over.set_exception(LoadFailed(why))

    def _look_if_over(self) -> None:
        if self._begun and not self._busy and not self._over.done():
            self._over.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, crew: _Crew) -> None:
        self._crew = crew
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._crew.fail(f"the server hung up: {exc or 'end of stream'}")

    def send(self, request: bytes, due: float) -> None:
        """Send a request; its time counts from `due`."""
        if self._transport is None:
            return  # the load has failed, and says so
        self._due = due
        self._crew.sent()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        if not _is_whole(received):
            self._received = received
            return
        self._received = b""
        if not received.startswith(OK_LINES):
            self._crew.fail(received[:500].decode(errors="replace"))
            return
        self._crew.answered(self, self._due)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _is_whole(received: bytes) -> bool:
    """Say whether a response has arrived with all of its body; its length is always given."""
    head_end = received.find(HEAD_END)
    if head_end < 0:
        return False
    at = received.find(LENGTH, 0, head_end) + len(LENGTH)
    length = int(received[at : received.index(b"\r", at)])
    return len(received) >= head_end + len(HEAD_END) + length
