"""Telling callers what became of what they asked for, until they have heard it.

A callback that is not answered 2xx is repeated with back-off for at least a minute, so whoever
listens may hear the same thing twice. What a gateway that stops has not told yet is lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import structlog

from compute.connections import make_http_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from compute.contracts import GatewayWire

TIMEOUT_S = 5.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
REPEATED_FOR_S = 75.0
MAX_WAITING = 1000

log = structlog.get_logger()


def decide_pause_s(attempt: int, *, elapsed_s: float) -> float | None:
    """Give the pause after failed attempt number `attempt`, from 1; None: give up. Pure.

    >>> [decide_pause_s(n, elapsed_s=0) for n in (1, 2, 3, 6)]
    [0.5, 1.0, 2.0, 10.0]
    """
    if elapsed_s >= REPEATED_FOR_S:
        return None
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 30))


class Callbacks:
    """What a gateway still has to tell. Belongs to one event loop."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """Take a monotonic clock."""
        self._clock = clock
        self._http = make_http_client("http:")
        self._secure = make_http_client("https:")
        self._waiting: set[asyncio.Task[None]] = set()

    def send(self, url: str, message: GatewayWire) -> None:
        """Tell somebody, beside everything else."""
        if len(self._waiting) >= MAX_WAITING:
            log.error("callback.dropped", url=url.partition("?")[0], waiting=len(self._waiting))
            return
        task = asyncio.create_task(self._send(url, message))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Tell nobody anything any more."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        await self._http.aclose()
        await self._secure.aclose()

    async def _send(self, url: str, message: GatewayWire) -> None:
        began_s, attempt, problem = self._clock(), 0, ""
        shown = url.partition("?")[0]  # what follows may be a secret
        while True:
            attempt += 1
            problem = await self._try(url, message)
            if not problem:
                return
            pause_s = decide_pause_s(attempt, elapsed_s=self._clock() - began_s)
            if pause_s is None:
                log.error("callback.given_up", url=shown, attempts=attempt, error=problem)
                return
            await asyncio.sleep(pause_s)

    async def _try(self, url: str, message: GatewayWire) -> str:
        """Give what went wrong, "" when it was heard."""
        http = self._secure if url.lower().startswith("https:") else self._http
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await http.post(url, json=message.to_wire())
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        return "" if answer.is_success else f"status {answer.status_code}"
