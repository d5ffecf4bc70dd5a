"""One thread that listens to Redis for a whole process, and comes back when Redis does."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.client import PubSub

    Listener = Callable[[str, str], None]

READ_S = 0.25  # how long a stop or a new channel may go unnoticed
CONNECT_TIMEOUT_S = 2.0
PING_AFTER_S = 3.0  # without a word from Redis
DEAD_AFTER_S = 9.0  # without a word from Redis, pings included
RETRY_FIRST_S = 0.1
RETRY_CAP_S = 2.0

log = structlog.get_logger(__name__)


class Silence(ConnectionError):
    """Redis has not said a word for too long, not even to a ping."""


def make_client(redis_url: str, *, timeout_s: float = CONNECT_TIMEOUT_S, retries: int = 0) -> Redis:
    """Give a client that reports a lost connection at once: its owner decides what follows."""
    return Redis.from_url(
        redis_url,
        decode_responses=True,
        protocol=2,
        retry=Retry(NoBackoff(), retries),
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
    )


class Subscriber:
    """Calls its listeners from its own thread with (channel, text) of every message."""

    def __init__(
        self,
        redis_url: Callable[[], str],
        *,
        on_subscribed: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Make a subscriber that is not started.

        `redis_url` is asked at each connection. `on_subscribed` is called whenever messages begin
        to arrive: what was said before was missed.
        """
        self._redis_url = redis_url
        self._on_subscribed = on_subscribed
        self._chance = chance
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_subscribed = False

    @property
    def is_subscribed(self) -> bool:
        """Whether every channel is being listened to at this moment."""
        return self._is_subscribed

    def listen(self, channel: str, listener: Listener) -> None:
        """Call `listener` with each message of a channel, or of all that match a `*` pattern."""
        with self._lock:
            self._listeners[channel].append(listener)

    def start(self) -> None:
        """Start the thread, anew in a forked child."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._is_subscribed = False
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping,), name="subscriber", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread, waiting at most `timeout_s` for it."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self, stopping: threading.Event) -> None:
        """Listen until stopped; after a failure begin again, less and less often."""
        delay_s = RETRY_FIRST_S
        while not stopping.is_set():
            try:
                self._listen_once(stopping)
            except Exception as error:  # noqa: BLE001  # a text that is no UTF-8 is one more reason
                delay_s = RETRY_FIRST_S if self._is_subscribed else min(2 * delay_s, RETRY_CAP_S)
                log.warning("subscriber.disconnected", error=repr(error), retry_in_s=delay_s)
            finally:
                self._is_subscribed = False
            stopping.wait(delay_s * (1 - 0.2 * self._chance()))

    def _listen_once(self, stopping: threading.Event) -> None:
        with make_client(self._redis_url()) as client, client.pubsub() as pubsub:
            wanted: set[str] = set()  # asked for on this connection
            confirmed: set[str] = set()
            heard_at_s = time.monotonic()
            while not stopping.is_set():
                self._subscribe_missing(pubsub, wanted)
                message = pubsub.get_message(timeout=READ_S)
                if message is None:
                    self._look_alive(pubsub, time.monotonic() - heard_at_s)
                    continue
                heard_at_s = time.monotonic()
                self._take(message, confirmed)
                if not self._is_subscribed and wanted <= confirmed:
                    self._is_subscribed = True
                    self._on_subscribed()

    def _subscribe_missing(self, pubsub: PubSub, wanted: set[str]) -> None:
        with self._lock:
            missing = self._listeners.keys() - wanted
        for channel in sorted(missing):
            self._is_subscribed = False  # until this one is confirmed too
            if "*" in channel:
                pubsub.psubscribe(channel)
            else:
                pubsub.subscribe(channel)
            wanted.add(channel)

    @staticmethod
    def _look_alive(pubsub: PubSub, silent_s: float) -> None:
        """Ask for a sign of life: a connection may be gone without anybody having said so."""
        if silent_s > DEAD_AFTER_S:
            raise Silence(f"no word from Redis for {silent_s:.0f} s")
        if silent_s > PING_AFTER_S:
            pubsub.ping()

    def _take(self, message: dict[str, Any], confirmed: set[str]) -> None:
        kind = message["type"]
        if kind in {"subscribe", "psubscribe"}:
            confirmed.add(message["channel"])
        elif kind in {"message", "pmessage"}:
            self._tell(
                message["pattern"] or message["channel"], message["channel"], message["data"]
            )

    def _tell(self, subscription: str, channel: str, text: str) -> None:
        with self._lock:
            listeners = list(self._listeners[subscription])
        for listener in listeners:
            try:
                listener(channel, text)
            except Exception:  # one listener's mistake must not deafen the others
                log.exception("subscriber.listener_failed", channel=channel)
