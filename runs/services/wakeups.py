"""Tell waiting dequeues that a worker queue has something.

A wake-up is only a hint: whoever misses it looks again by itself. This process is told at once;
the others through Redis by a small thread that sends each queue's name once per moment, so that a
burst of triggers costs a burst of nothing. The moments of a burst grow longer: sending, and hearing
of it in every process, would else cost as much as an eighth of the triggers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import cache
from queue import SimpleQueue

import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

CHANNEL_PREFIX = "crossfade:ready:"
TIMEOUT_S = 2.0
GATHER_S = 0.01
LONGEST_GATHER_S = 0.05  # so late do others hear of what comes in a burst


class ReadyBoard:
    """Who waits for which worker queue in this process."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count: dict[str, int] = {}
        self._everywhere = 0

    def mark(self, queue: str) -> int:
        """Give the number to pass to `wait`: what was announced so far."""
        with self._condition:
            return self._announced(queue)

    def announce_everywhere(self) -> None:
        """Wake who waits for any queue."""
        with self._condition:
            self._everywhere += 1
            self._condition.notify_all()

    def _announced(self, queue: str) -> int:
        return self._count.get(queue, 0) + self._everywhere

    def announce(self, queue: str) -> None:
        """Wake who waits for this queue."""
        with self._condition:
            self._count[queue] = self._count.get(queue, 0) + 1
            self._condition.notify_all()

    def wait(self, queue: str, *, seen: int, timeout_s: float) -> bool:
        """Wait until something was announced after `seen`; False when the time is over."""
        with self._condition:
            return self._condition.wait_for(
                lambda: self._announced(queue) != seen, timeout=timeout_s
            )


def next_rest_s(rest_s: float, *, goes_on: bool) -> float:
    """Give how long to gather after the next sending; longer while a burst goes on.

    >>> next_rest_s(0.01, goes_on=True), next_rest_s(0.04, goes_on=True)
    (0.02, 0.05)
    """
    return min(rest_s * 2, LONGEST_GATHER_S) if goes_on else GATHER_S


class Announcer:
    """Sends announcements to the other processes; what piles up meanwhile goes out once."""

    def __init__(self, publish: Callable[[str], object]) -> None:
        self._publish = publish
        self._pending: SimpleQueue[str] = SimpleQueue()
        self._resting = threading.Event()  # never set: it only waits
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def announce(self, queue: str) -> None:
        """Send it soon."""
        self._pending.put(queue)
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send, name="announcer", daemon=True)
                self._thread.start()

    def _send(self) -> None:
        rest_s = GATHER_S
        while True:
            queues = {self._pending.get()}
            while not self._pending.empty():
                queues.add(self._pending.get())
            self._publish_all(queues)
            # The first of a burst goes out at once; the rest of it gathers here.
            self._resting.wait(rest_s)
            rest_s = next_rest_s(rest_s, goes_on=not self._pending.empty())

    def _publish_all(self, queues: Iterable[str]) -> None:
        for queue in queues:
            try:
                self._publish(CHANNEL_PREFIX + queue)
            except redis.RedisError as error:
                # Dequeues elsewhere look again by themselves; nothing is lost.
                log.warning("wakeup.unsent", queue=queue, error=str(error))
                return


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.ENV.redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    )


board = ReadyBoard()
announcer = Announcer(lambda channel: _redis().publish(channel, ""))


def announce_ready(queue: str) -> None:
    """Tell every process that a run is ready on this worker queue; call it after the commit."""
    board.announce(queue)
    announcer.announce(queue)


def hear_ready(channel: str, _text: str = "") -> None:
    """Take an announcement from another process."""
    board.announce(channel.removeprefix(CHANNEL_PREFIX))


def look_everywhere(_kind: str, _subject: str) -> None:
    """Let every waiting dequeue of this process look again: a limit or a pause may be lifted."""
    board.announce_everywhere()
