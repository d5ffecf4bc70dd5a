"""A process tells which revision it serves: at once when that moves, now and then anyway."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.db import DatabaseError, connection

from ledger.connections import release_connections
from ledger.feed import Feed
from ledger.registry import ReloadingRegistry
from ledger.replicas import Report, Reporter, record_report
from ledger.selectors import current_revision, list_replicas
from ledger.services import ledger_write
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import redis

    from ledger.selectors import ReplicaView

pytestmark = pytest.mark.django_db(transaction=True)

HOUR_S = 3600.0
_numbers = itertools.count()


@pytest.fixture
def feed(valkey: redis.Redis) -> Generator[Feed, None, None]:
    """Give the feed of another process, which follows the ledger by messages."""
    made = Feed(redis_url=lambda: settings.ENV.redis_url, interval_ms=lambda: 3_600_000)
    yield made
    made.stop()


@pytest.fixture
def reporter(feed: Feed) -> Generator[Callable[[float], Reporter], None, None]:
    """Give a maker of started reporters, stopped at the end."""
    made: list[Reporter] = []

    def _make(report_s: float) -> Reporter:
        one = Reporter(feed, process="web", look_s=0.01, report_s=report_s)
        made.append(one)
        one.start()
        return one

    yield _make
    for one in made:
        one.stop()


def touch(kind: str = "flags") -> int:
    """Make a write and give its revision."""
    with ledger_write(actor="user:a@b.c", source="test") as write:
        write.touch(kind)
    return write.revision


def only() -> ReplicaView:
    """Give the one replica there is."""
    (replica,) = list_replicas()
    return replica


def follow(feed: Feed) -> None:
    """Start a feed and wait until it hears messages."""
    feed.start()
    wait_until(lambda: feed.subscribed and feed.served_revision == current_revision())


def test_a_revision_is_reported_when_it_is_served(
    feed: Feed, reporter: Callable[[float], Reporter]
) -> None:
    """Long before the next report is due anyway; until a poll has answered there is none."""
    reporter(HOUR_S)
    wait_until(lambda: bool(list_replicas()))
    assert only().revision is None
    follow(feed)
    wait_until(lambda: only().revision == current_revision())
    revision = touch()
    wait_until(lambda: only().revision == revision)


def test_a_revision_that_is_not_loaded_yet_is_not_reported(
    feed: Feed, reporter: Callable[[float], Reporter]
) -> None:
    """Hearing of a change is not serving it: a load that fails keeps the number back."""
    is_broken = False

    def load() -> int:
        if is_broken:
            raise DatabaseError("no rows today")
        return current_revision()

    registry = ReloadingRegistry(
        f"replicas-{next(_numbers)}",
        load,
        interval_ms=3_600_000,
        retry_first_s=0.02,
        release=release_connections,
    )
    feed.attach(registry, ["flags"])
    follow(feed)
    before = current_revision()
    reporter(0.05)
    wait_until(lambda: [one.revision for one in list_replicas()] == [before])
    is_broken = True
    touch()
    first = only().seen_at
    wait_until(lambda: only().seen_at > first)
    assert only().revision == before
    is_broken = False
    wait_until(lambda: only().revision == current_revision())


def test_reports_go_on_without_a_change(feed: Feed, reporter: Callable[[float], Reporter]) -> None:
    """The time of the last report is what tells a live process from one that is gone."""
    reporter(0.02)
    wait_until(lambda: bool(list_replicas()))
    first = only().seen_at
    wait_until(lambda: only().seen_at > first)


def test_a_report_that_fails_is_made_up_for(feed: Feed) -> None:
    """The thread survives whatever a report raises."""
    reports: list[Report] = []

    def record(report: Report) -> None:
        reports.append(report)
        if len(reports) == 1:
            raise DatabaseError("the database is away")
        record_report(report)

    one = Reporter(
        feed, process="worker", record=record, report_s=HOUR_S, retry_s=0.01, look_s=0.01
    )
    one.start()
    wait_until(lambda: bool(list_replicas()))
    assert only().process == "worker"
    one.stop()


def test_a_process_that_ends_takes_its_row_along(reporter: Callable[[float], Reporter]) -> None:
    """Nobody waits for a replica that has said goodbye; started again it is a new one."""
    one = reporter(HOUR_S)
    wait_until(lambda: bool(list_replicas()))
    one.stop()
    assert list_replicas() == []
    one.start()
    wait_until(lambda: bool(list_replicas()))


def test_a_replica_that_fell_silent_is_not_listed_and_its_row_goes() -> None:
    """Half a minute without a report is gone; the row is removed by whoever reports later."""
    for name in ("replica_1", "replica_2", "replica_3"):
        record_report(Report(name, "web", "h", 1, 1, 0))
    with connection.cursor() as cursor:
        age = "UPDATE ledger_replica SET seen_at = now() - interval '{}' WHERE id = 'replica_{}'"
        cursor.execute(age.format("31 s", 1))
        cursor.execute(age.format("6 min", 2))
    assert len(list_replicas()) == 1
    record_report(Report("replica_3", "web", "h", 1, 1, 0))
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM ledger_replica ORDER BY id")
        assert cursor.fetchall() == [("replica_1",), ("replica_3",)]


def test_a_report_is_no_write_of_the_ledger(
    feed: Feed, reporter: Callable[[float], Reporter]
) -> None:
    """It takes no revision and leaves no audit row."""
    before = current_revision()
    reporter(0.01)
    wait_until(lambda: bool(list_replicas()))
    assert current_revision() == before
