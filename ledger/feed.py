"""How a process learns what other processes changed, and drops it from its memory.

Three ways lead to the same place: the message of a writer (at once), the answer of the database to
"what changed since revision N" (at an interval, after a gap and after every reconnection), and a
write of this very process (before its caller goes on). Redis may be lost at any moment.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from django.conf import settings

from ledger.changes import (
    ALL,
    CHANNEL,
    BadMessage,
    ChangeMessage,
    ChangeSet,
    Touch,
    parse_message,
)
from ledger.connections import release_connections
from ledger.forks import renew_after_fork
from ledger.metrics import POLL_FAILURES, SERVED_BY_FEED, SUBSCRIBED, WENT_BACK
from ledger.progress import Progress, has_applied, note_applied, note_polled
from ledger.publisher import Publisher
from ledger.registry import LoadFailed
from ledger.selectors import changes_since
from ledger.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ledger.registry import ReloadingRegistry

    OnChange = Callable[[str, str], None]

STOP_TIMEOUT_S = 5.0
JITTER = 0.2  # the part of the interval that chance may take away

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Subscription:
    kinds: frozenset[str]
    on_change: OnChange


@dataclass(frozen=True, slots=True)
class _Attached:
    kinds: frozenset[str]
    registry: ReloadingRegistry[Any]


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A revision is not served before this load is."""

    revision: int
    registry: ReloadingRegistry[Any]
    ticket: int

    @property
    def is_over(self) -> bool:
        return self.registry.has_applied(self.ticket) or not self.registry.is_started


class _Begun(NamedTuple):
    """A load that a write of this process waits for."""

    registry: ReloadingRegistry[Any]
    ticket: int | None  # None: the registry is inert, so that this thread has to load


class Feed:
    """Follows the ledger for one process: one thread listens to Redis, one asks the database."""

    def __init__(
        self,
        *,
        redis_url: Callable[[], str],
        interval_ms: Callable[[], int],
        read_changes: Callable[[int | None], ChangeSet] = changes_since,
        release: Callable[[], None] = release_connections,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Make a feed that is not started; it then applies the writes of its own process only.

        `read_changes(None)` has to say where to begin. `release` gives back the database connection
        of a thread that has polled, or that waits for a registry.
        """
        self._interval_ms = interval_ms
        self._read_changes = read_changes
        self._release = release
        self._chance = chance
        self._subscriptions: list[_Subscription] = []
        self._attached: list[_Attached] = []
        self._progress = Progress()
        self._history = ""  # of the database at the last poll; "" is not known
        self._awaited: list[_Awaited] = []
        self._lock = threading.Lock()
        self._poll_due = threading.Event()
        self._stopping = threading.Event()
        self._poller: threading.Thread | None = None
        self._is_started = False
        self._subscriber = Subscriber(redis_url, on_subscribed=self.poll_soon, chance=chance)
        self._publisher = Publisher(redis_url)
        self._subscriber.listen(CHANNEL, self._on_message)
        renew_after_fork(self)

    # -- what a process follows --------------------------------------------------------------------

    def subscribe(self, kinds: Iterable[str], on_change: OnChange) -> None:
        """Call `on_change(kind, subject)` for each change; subject "" means all of the kind.

        It is called from any thread, at times twice for one change, and has to be quick: a cache's
        drop, not a load.
        """
        self._subscriptions.append(_Subscription(frozenset(kinds), on_change))

    def attach(self, registry: ReloadingRegistry[Any], kinds: Iterable[str]) -> None:
        """Reload a registry when one of `kinds` changes; it starts and stops with the feed."""
        self._attached.append(_Attached(frozenset(kinds), registry))
        if self._is_started:
            registry.start()

    def listen(self, channel: str, listener: Callable[[str, str], None]) -> None:
        """Call `listener(channel, text)` for the messages of any other Redis channel or pattern."""
        self._subscriber.listen(channel, listener)

    @property
    def subscribed(self) -> bool:
        """Whether messages arrive at this moment; if not, look for yourself once in a while."""
        return self._subscriber.is_subscribed

    @property
    def served_revision(self) -> int | None:
        """The revision up to which every change is in effect here; None before the first poll.

        A change that needs a registry's reload is in effect when that load is served.
        """
        with self._lock:
            served = self._progress.served
            self._awaited = [one for one in self._awaited if not one.is_over]
            if served is None:
                return None
            return min([served, *(one.revision - 1 for one in self._awaited)])

    @property
    def oldest_snapshot_s(self) -> float | None:
        """How long ago the oldest of the attached snapshots was loaded; None while one is cold."""
        ages_s = [attached.registry.age_s for attached in self._attached]
        known_s = [age_s for age_s in ages_s if age_s is not None]
        return max(known_s, default=0.0) if len(known_s) == len(ages_s) else None

    # -- threads -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads and the attached registries. Starting twice is starting once."""
        if self._is_started:
            return
        self._is_started = True
        for attached in self._attached:
            attached.registry.start()
        self._start_threads()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the threads and the attached registries, each within `timeout_s`."""
        self._is_started = False
        self._stopping.set()
        self._poll_due.set()
        self._subscriber.stop(timeout_s)
        if self._poller is not None and self._poller is not threading.current_thread():
            self._poller.join(timeout_s)
        for attached in self._attached:
            attached.registry.stop(timeout_s)

    def after_fork(self) -> None:
        """Go on in a forked child: with threads of its own, and from the beginning."""
        self._lock = threading.Lock()
        self._progress = Progress()
        self._history = ""
        self._awaited = []
        self._publisher.after_fork()
        if self._is_started:
            self._start_threads()

    def _start_threads(self) -> None:
        self._stopping = threading.Event()
        self._poll_due = threading.Event()
        self._poll_due.set()
        self._subscriber.start()
        self._poller = threading.Thread(
            target=self._poll_for_ever, args=(self._stopping,), name="poller", daemon=True
        )
        self._poller.start()

    # -- the message -------------------------------------------------------------------------------

    def announce(self, revision: int, touched: tuple[Touch, ...]) -> None:
        """Make a committed write take effect here, and tell every other process meanwhile."""
        begun = self._begin_local(revision, touched)
        text = ChangeMessage(revision, touched).to_text()
        self._publisher.publish(CHANNEL, text, is_rare=True)
        self._end_local(revision, begun)

    def publish(self, channel: str, text: str) -> bool:
        """Send a message to any channel; false when Redis could not take it, which is not raised.

        After a failure nothing is sent for half a second, so that an outage slows nobody down.
        """
        return self._publisher.publish(channel, text)

    def apply_local(self, revision: int, touched: tuple[Touch, ...]) -> None:
        """Apply a write of this process: when this returns, its next decision sees it.

        A registry that cannot be reloaded now is reloaded as soon as it can.
        """
        self._end_local(revision, self._begin_local(revision, touched))

    def _begin_local(self, revision: int, touched: tuple[Touch, ...]) -> list[_Begun]:
        """Drop from memory what changed, and begin the loads that the write has to wait for."""
        self._tell_subscribers(touched)
        kinds = {kind for kind, _ in touched}
        affected = [one.registry for one in self._attached if one.kinds & kinds]
        if affected:  # a load may need the very connection that this thread would sit on
            self._release()
        begun = []
        for registry in affected:
            if not registry.is_loaded:  # nobody has seen anything yet, and an inert one stays cold
                self._wake(registry, revision)
            else:
                begun.append(_Begun(registry, registry.wake() if registry.is_started else None))
        return begun

    def _end_local(self, revision: int, begun: list[_Begun]) -> None:
        for registry, ticket in begun:
            try:
                if ticket is None:
                    registry.reload()
                else:
                    registry.wait_for(ticket)
            except LoadFailed as error:
                log.warning("feed.local_reload_failed", registry=registry.name, error=repr(error))
                self._wake(registry, revision)
        if self._is_started:
            self._note(revision)

    def _on_message(self, _channel: str, text: str) -> None:
        try:
            message = parse_message(text)
        except BadMessage as error:
            log.warning("feed.bad_message", error=str(error))
            self.poll_soon()
            return
        if has_applied(self._progress, message.revision):
            return
        self._apply(message.touched, message.revision)
        if self._note(message.revision).has_gap:
            self.poll_soon()

    def _note(self, revision: int) -> Progress:
        with self._lock:
            self._progress = note_applied(self._progress, revision)
            return self._progress

    # -- the poll ----------------------------------------------------------------------------------

    def poll_soon(self) -> None:
        """Ask the database what changed, from the feed's own thread. Never waits."""
        self._poll_due.set()

    def poll(self) -> None:
        """Ask the database what changed and apply it, in this thread. Raises what that raises."""
        asked = self._progress.served
        changes = self._read_changes(asked)
        is_other = self._is_other(asked, changes)
        if changes.is_complete and not is_other:
            self._apply(changes.touched, (asked or 0) + 1)
        else:
            self._apply_everything(changes.revision)
        with self._lock:
            self._progress = note_polled(
                self._progress, asked=asked, found=changes.revision, is_other=is_other
            )
            self._history = changes.history or self._history
            SERVED_BY_FEED.set(changes.revision)

    def _is_other(self, asked: int | None, changes: ChangeSet) -> bool:
        """Tell whether the database is another one than at the last poll; say what it lacks."""
        if asked is not None and changes.revision < asked:
            WENT_BACK.inc()
            log.error("feed.went_back", served=asked, found=changes.revision)
        return bool(self._history and changes.history) and changes.history != self._history

    def _poll_for_ever(self, stopping: threading.Event) -> None:
        is_failing = False
        while True:
            delay_s = self._interval_ms() / 1000 * (1 - JITTER * self._chance())
            self._poll_due.wait(delay_s)
            if stopping.is_set():
                return
            self._poll_due.clear()
            was_failing, is_failing = is_failing, not self._try_poll()
            if was_failing and not is_failing:
                self._wake_all()  # they may be waiting out a long back-off

    def _try_poll(self) -> bool:
        try:
            self.poll()
        except Exception as error:  # noqa: BLE001  # whatever it was, the next poll may succeed
            POLL_FAILURES.inc()
            log.warning("feed.poll_failed", error=repr(error))
            return False
        finally:
            self._release()
        return True

    # -- taking effect -----------------------------------------------------------------------------

    def _apply(self, touched: Iterable[Touch], revision: int) -> None:
        """Drop and wake what was touched at `revision` or, if in a row, from it on."""
        touched = tuple(touched)
        self._tell_subscribers(touched)
        kinds = {kind for kind, _ in touched}
        for attached in self._attached:
            if attached.kinds & kinds:
                self._wake(attached.registry, revision)

    def _apply_everything(self, revision: int) -> None:
        kinds = {kind for one in self._subscriptions for kind in one.kinds}
        self._tell_subscribers(tuple((kind, ALL) for kind in sorted(kinds)))
        for attached in self._attached:
            self._wake(attached.registry, revision)

    def _tell_subscribers(self, touched: tuple[Touch, ...]) -> None:
        for kind, subject in touched:
            for subscription in self._subscriptions:
                if kind in subscription.kinds:
                    self._tell(subscription, kind, subject)

    @staticmethod
    def _tell(subscription: _Subscription, kind: str, subject: str) -> None:
        try:
            subscription.on_change(kind, subject)
        except Exception:  # the others still have to hear of it
            log.exception("feed.subscriber_failed", kind=kind, subject=subject)

    def _wake_all(self) -> None:
        for attached in self._attached:
            attached.registry.wake()

    def _wake(self, registry: ReloadingRegistry[Any], revision: int) -> None:
        with self._lock:
            self._awaited.append(_Awaited(revision, registry, registry.wake()))


feed = Feed(
    redis_url=lambda: settings.ENV.redis_url,
    interval_ms=lambda: settings.ENV.reload_interval_ms,
)
"""The feed of this process."""

SUBSCRIBED.set_function(lambda: float(feed.subscribed))
