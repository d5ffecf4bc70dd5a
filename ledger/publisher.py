"""Messages to other processes: sent after commit, and never a reason to fail or to be slow."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog
from redis import RedisError

from ledger.subscriber import make_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

TIMEOUT_S = 0.5
PAUSE_S = 0.5  # after a failure nothing is sent for so long, or an outage would slow every caller

log = structlog.get_logger(__name__)


class Publisher:
    """Sends to Redis channels over a pool of connections that survives a fork."""

    def __init__(
        self, redis_url: Callable[[], str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make a publisher; `redis_url` is asked at the first message."""
        self._redis_url = redis_url
        self._clock = clock
        self._client: Redis | None = None
        self._lock = threading.Lock()
        self._paused_until_s: float | None = None

    def publish(self, channel: str, text: str, *, is_rare: bool = False) -> bool:
        """Send a message; false when Redis could not take it, which is logged and never raised.

        A rare message is tried also in the pause after a failure.
        """
        paused_until_s = self._paused_until_s
        if not is_rare and paused_until_s is not None and self._clock() < paused_until_s:
            return False
        try:
            self._connected().publish(channel, text)
        except (RedisError, OSError) as error:
            self._paused_until_s = self._clock() + PAUSE_S
            log.warning("publisher.failed", channel=channel, error=repr(error))
            return False
        self._paused_until_s = None
        return True

    def after_fork(self) -> None:
        """Make the lock anew in a forked child; the pool notices the fork by itself."""
        self._lock = threading.Lock()

    def _connected(self) -> Redis:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or make_client(
                    self._redis_url(), timeout_s=TIMEOUT_S, retries=1
                )
        return client
