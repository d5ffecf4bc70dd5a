"""What a feed does with messages and polls, without servers: nothing listens at its Redis."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from ledger.changes import ChangeMessage, ChangeSet
from ledger.feed import Feed
from ledger.metrics import WENT_BACK
from ledger.registry import ReloadingRegistry
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

HOUR_MS = 3_600_000
_numbers = itertools.count()


class Database:
    """What a feed asks: the changes it was given, or an error."""

    def __init__(self) -> None:
        self.head = 0
        self.changes: dict[int, tuple[tuple[str, str], ...]] = {}
        self.is_away = False
        self.polls = 0
        self.interval_ms = HOUR_MS
        self.history = "first"

    def commit(self, *touched: tuple[str, str]) -> ChangeMessage:
        """Give the message of one more write."""
        self.head += 1
        self.changes[self.head] = touched
        return ChangeMessage(self.head, touched)

    def read(self, revision: int | None) -> ChangeSet:
        """Answer as the ledger's selector does."""
        self.polls += 1
        if self.is_away:
            raise ConnectionError("the database is away")
        if revision is None or revision > self.head:
            return ChangeSet(self.head, (), is_complete=False, history=self.history)
        since = [one for number, one in self.changes.items() if number > revision]
        touched = tuple(itertools.chain(*since))
        return ChangeSet(self.head, touched, is_complete=True, history=self.history)

    def restore(self, revision: int) -> None:
        """Go back to an older revision, as a backup does."""
        self.head, self.history = revision, "second"
        self.changes = {number: one for number, one in self.changes.items() if number <= revision}


@pytest.fixture
def database() -> Database:
    """Give an empty ledger."""
    return Database()


@pytest.fixture
def feed(database: Database) -> Generator[Feed, None, None]:
    """Give a feed of that ledger, without a Redis to listen to; stopped at the end."""
    made = Feed(
        redis_url=lambda: "redis://127.0.0.1:1/0",
        interval_ms=lambda: database.interval_ms,
        read_changes=database.read,
        release=lambda: None,
    )
    yield made
    made.stop()


@pytest.fixture
def heard(feed: Feed) -> list[tuple[str, str]]:
    """Give what a subscriber of two kinds hears."""
    told: list[tuple[str, str]] = []
    feed.subscribe(["flags", "key"], lambda kind, subject: told.append((kind, subject)))
    return told


def _receive(feed: Feed, message: ChangeMessage) -> None:
    feed._on_message("crossfade:changes", message.to_text())


def test_the_first_poll_drops_everything(
    feed: Feed, database: Database, heard: list[tuple[str, str]]
) -> None:
    """What was cached before the feed knew where it is may be old."""
    database.commit(("environment", "e1"))
    before = feed.served_revision
    feed.poll()
    assert (before, heard) == (None, [("flags", ""), ("key", "")])
    assert feed.served_revision == 1


def test_a_message_takes_effect_once(
    feed: Feed, database: Database, heard: list[tuple[str, str]]
) -> None:
    """A subscriber hears of its kinds only, and a repeated message changes nothing."""
    feed.poll()
    heard.clear()
    message = database.commit(("key", "k1"), ("environment", "e1"))
    _receive(feed, message)
    _receive(feed, message)
    assert (heard, feed.served_revision) == ([("key", "k1")], 1)


def test_a_lost_message_is_found_by_a_poll(
    feed: Feed, database: Database, heard: list[tuple[str, str]]
) -> None:
    """A revision that was skipped makes the feed ask, and is not counted as served before."""
    feed.poll()
    heard.clear()
    database.commit(("key", "lost"))
    _receive(feed, database.commit(("key", "k2")))
    assert (heard, feed.served_revision) == ([("key", "k2")], 0)
    assert feed._poll_due.is_set()
    feed.poll()
    assert (("key", "lost") in heard, feed.served_revision) == (True, 2)


def test_a_restored_database_drops_everything(
    feed: Feed, database: Database, heard: list[tuple[str, str]]
) -> None:
    """When the revision went back, nothing in memory can be trusted."""
    for _ in range(3):
        database.commit(("key", "k"))
    feed.poll()
    heard.clear()
    database.head, database.changes = 1, {}
    feed.poll()
    assert (heard, feed.served_revision) == ([("flags", ""), ("key", "")], 1)


def test_what_is_no_message_makes_the_feed_ask(feed: Feed, database: Database) -> None:
    """Somebody else's text on the channel does no harm."""
    feed._on_message("crossfade:changes", "hello")
    assert feed._poll_due.is_set()


def test_a_subscribers_mistake_does_not_keep_it_from_others(
    feed: Feed, heard: list[tuple[str, str]]
) -> None:
    """A cache that fails to drop does not stop the caches after it."""
    failed: list[str] = []

    def _fail(_kind: str, subject: str) -> None:
        failed.append(subject)
        raise ValueError("a bug")

    feed._subscriptions.clear()
    feed.subscribe(["key"], _fail)
    feed.subscribe(["key"], lambda kind, subject: heard.append((kind, subject)))
    feed.apply_local(1, (("key", "k1"),))
    assert (failed, heard) == (["k1"], [("key", "k1")])


def test_a_local_write_is_seen_when_its_caller_goes_on(feed: Feed) -> None:
    """The replica that answered decides by the new value, at once."""
    values = [1]
    registry = _registry(lambda: values[0])
    feed.attach(registry, ["flags"])
    registry.reload()
    values[0] = 2
    feed.apply_local(1, (("key", "k1"),))
    assert registry.current() == 1
    feed.apply_local(2, (("flags", ""),))
    assert registry.current() == 2


def test_a_local_write_leaves_an_inert_cold_registry_cold(feed: Feed) -> None:
    """What was never started or loaded stays cold."""
    registry = _registry(lambda: 1)
    feed.attach(registry, ["flags"])
    feed.apply_local(1, (("flags", ""),))
    assert not registry.is_loaded


def test_a_local_write_survives_a_reload_that_fails(feed: Feed) -> None:
    """The write is committed: its caller gets no error, and the registry reloads when it can."""
    answers: list[int | None] = [1]
    registry = _registry(lambda: _given(answers[0]))
    feed.attach(registry, ["flags"])
    registry.reload()
    answers[0] = None
    feed.apply_local(1, (("flags", ""),))
    assert registry.current() == 1


def _given(value: int | None) -> int:
    if value is None:
        raise ConnectionError("away")
    return value


def _registry(load: object) -> ReloadingRegistry[int]:
    name = f"feed-test-{next(_numbers)}"
    return ReloadingRegistry(name, load, interval_ms=HOUR_MS)  # type: ignore[arg-type]


def test_a_revision_is_served_when_its_reload_is(feed: Feed, database: Database) -> None:
    """A kill switch has not arrived before the snapshot that holds it is served."""
    gate = threading.Event()
    gate.set()
    registry = _registry(lambda: database.head if gate.wait(20) else -1)
    feed.attach(registry, ["flags"])
    feed.start()
    wait_until(lambda: feed.served_revision == 0 and registry.is_loaded)
    gate.clear()
    _receive(feed, database.commit(("flags", "")))
    _receive(feed, database.commit(("key", "k1")))
    assert feed.served_revision == 0
    gate.set()
    wait_until(lambda: feed.served_revision == 2)
    assert registry.current() == 2


def test_polls_go_on_after_a_failure_and_wake_who_waits(feed: Feed, database: Database) -> None:
    """When the database answers again, registries need not wait out their back-off."""
    starts: list[bool] = []

    def _load() -> int:
        starts.append(database.is_away)
        return _given(None if database.is_away else 1)

    registry = ReloadingRegistry(
        f"feed-test-{next(_numbers)}", _load, interval_ms=HOUR_MS, retry_first_s=60
    )
    feed.attach(registry, ["flags"])
    database.is_away, database.interval_ms = True, 5
    feed.start()
    wait_until(lambda: database.polls >= 3 and bool(starts))
    assert not registry.is_loaded
    database.is_away = False
    assert registry.ready(10)
    wait_until(lambda: feed.served_revision == 0)


def test_stop_ends_the_threads_and_start_begins_anew(feed: Feed, database: Database) -> None:
    """A stopped feed neither polls nor listens, and can be started again."""
    database.interval_ms = 5
    feed.start()
    feed.start()
    wait_until(lambda: database.polls >= 2)
    feed.stop()
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"poller", "subscriber"}
    feed.start()
    polls = database.polls
    wait_until(lambda: database.polls > polls)


def test_a_message_that_cannot_be_sent_is_no_error(feed: Feed) -> None:
    """Redis may be away: the caller learns it, and goes on."""
    assert not feed.publish("crossfade:ready:q", "x")
    assert not feed.subscribed
    feed.announce(1, (("flags", ""),))


def test_a_restored_database_that_was_overtaken_drops_everything(
    feed: Feed, database: Database, heard: list[tuple[str, str]]
) -> None:
    """Numbers that were served before stand for other writes now, whose messages were passed by."""
    feed.poll()
    _receive(feed, database.commit(("key", "undone")))
    database.restore(0)
    _receive(feed, database.commit(("key", "revoked")))
    database.commit(("key", "later"))
    heard.clear()
    feed.poll()
    assert (heard, feed.served_revision) == ([("flags", ""), ("key", "")], 2)
    heard.clear()
    feed.poll()
    assert heard == []


def test_going_back_is_counted(feed: Feed, database: Database) -> None:
    """Operators can be woken for writes that are gone; a mere restart of the server is no news."""
    feed.poll()
    for subject in ("one", "two"):
        _receive(feed, database.commit(("key", subject)))
    feed.poll()
    before = WENT_BACK._value.get()
    database.history = "restarted"
    feed.poll()
    assert WENT_BACK._value.get() == before
    database.restore(1)
    feed.poll()
    assert (WENT_BACK._value.get() - before, feed.served_revision) == (1, 1)
