"""Triggers that are written together: what goes wrong for one is no other's."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from django.db import DataError, OperationalError, connection, transaction

from ledger.connections import release_connections
from runs.calls import TriggerCall, Triggered
from runs.services.trigger import trigger_run
from runs.services.trigger_writes import GATHERER
from tests.running import World, check_books, make_world, rows_of
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

THREADS = 8
WAIT_S = 20.0
CLOSE_LANE = "SELECT pg_advisory_xact_lock(hashtextextended(lane_id::text, 0)) FROM runs_taskrun"
# Not of pg_stat_activity, which stays as it was first seen until a transaction is over.
WAITING = """
SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'advisory'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
COUNT = "SELECT count(*) FROM runs_taskrun"


class Crowd:
    """Triggers of one environment, each in a thread of its own."""

    def __init__(self, world: World, pool: ThreadPoolExecutor) -> None:
        self.world = world
        self._pool = pool

    def trigger(self, **given: str) -> Future[Triggered]:
        """Send one and go on."""
        return self._pool.submit(self._trigger, TriggerCall(task="hello", **given))  # type: ignore[arg-type]

    def trigger_inside(self) -> Triggered:
        """Trigger in this thread, inside a transaction."""
        with transaction.atomic():
            made = self._trigger(TriggerCall(task="hello"))
        release_connections()
        return made

    def gather(self, *calls: dict[str, str]) -> list[Future[Triggered]]:
        """Let so many wait for the first one, which hangs in the database."""
        first = self.trigger(request_key="first")
        wait_until(lambda: len(rows_of(WAITING)) == 1, what="a trigger that hangs")
        waiting = [self.trigger(**call) for call in calls]
        wait_until(
            lambda: GATHERER.waiting(self.world.environment_id) == len(calls),
            what="the triggers behind it",
        )
        return [first, *waiting]

    def _trigger(self, call: TriggerCall) -> Triggered:
        try:
            return trigger_run(self.world.caller, call, now=datetime.now(UTC))
        finally:
            if not connection.in_atomic_block:
                release_connections()


@contextmanager
def closing_lanes() -> Generator[None, None, None]:
    """Hold the locks of all lanes that runs were put into so far, as whoever closes one does."""
    with transaction.atomic():
        rows_of(CLOSE_LANE)
        yield


def test_who_comes_meanwhile_is_written_in_one_statement() -> None:
    """All get runs of their own, from one transaction."""
    world = make_world()
    world.trigger()
    with ThreadPoolExecutor(THREADS) as pool:
        with closing_lanes():
            made = Crowd(world, pool).gather(*({"request_key": f"r{n}"} for n in range(5)))
        runs = [one.result(WAIT_S).run_id for one in made]
    assert len(set(runs)) == len(runs)
    written = rows_of("SELECT count(*) FROM runs_taskrun WHERE id = ANY(%s) GROUP BY xmin", runs)
    assert sorted(written) == [(1,), (5,)]
    check_books()


@pytest.mark.fault(
    kills="nothing: a trigger of another organization hangs in the database",
    step="triggering",
    expects="it is answered at once: organizations never wait for each other",
)
def test_another_environment_is_not_held_up() -> None:
    """What hangs in one environment, and gathers behind it, is no concern of another."""
    world, other = make_world(), make_world()
    world.trigger()
    with ThreadPoolExecutor(THREADS) as pool:
        with closing_lanes():
            made = Crowd(world, pool).gather({"request_key": "second"})
            assert Crowd(other, pool).trigger().result(WAIT_S).run_id
            assert not any(one.done() for one in made)
        assert all(one.result(WAIT_S).run_id for one in made)
    check_books()


@pytest.mark.fault(
    kills="nothing: one of several triggers at one moment holds what cannot be stored",
    step="triggering",
    expects="that one is refused, the others make their runs",
)
def test_what_cannot_be_stored_is_refused_alone() -> None:
    """The others are written all the same."""
    world = make_world()
    world.trigger()
    with ThreadPoolExecutor(THREADS) as pool:
        with closing_lanes():
            bad: dict[str, str] = {"payload": "\x00"}
            first, wrong, *right = Crowd(world, pool).gather(bad, {"payload": "1"}, {})
        assert isinstance(wrong.exception(WAIT_S), DataError)
        assert len({one.result(WAIT_S).run_id for one in (first, *right)}) == 3
    assert rows_of(COUNT) == [(4,)]
    check_books()


@pytest.mark.fault(
    kills="PostgreSQL's side of the connection",
    step="while several triggers are written together",
    expects="none is acknowledged, nothing is half-written, the same requests make one run each",
)
def test_a_lost_connection_acknowledges_nobody() -> None:
    """Each of them is told to try again, and a repeat of its request makes its run."""
    world = make_world()
    world.trigger()
    calls = [{"request_key": f"r{n}"} for n in range(4)]
    with ThreadPoolExecutor(THREADS) as pool:
        crowd = Crowd(world, pool)
        with closing_lanes():
            made = crowd.gather(*calls)
            rows_of("SELECT pg_terminate_backend(pid, 10000) FROM (" + WAITING + ") waiting")
            assert isinstance(made[0].exception(WAIT_S), OperationalError)
            wait_until(lambda: len(rows_of(WAITING)) == 1, what="those behind it, together")
            rows_of("SELECT pg_terminate_backend(pid, 10000) FROM (" + WAITING + ") waiting")
            errors = [one.exception(WAIT_S) for one in made[1:]]
        assert [type(error) for error in errors] == [OperationalError] * len(calls)
        assert rows_of(COUNT) == [(1,)]
        again = [crowd.trigger(**call).result(WAIT_S).run_id for call in calls]
    assert rows_of(COUNT) == [(1 + len(set(again)),)]
    assert len(set(again)) == len(calls)
    check_books()


def test_repeats_of_a_request_are_one_run_also_together() -> None:
    """One statement claims a key once; the repeat is told whose it is."""
    world = make_world()
    world.trigger()
    with ThreadPoolExecutor(THREADS) as pool:
        with closing_lanes():
            _, one, other, own = Crowd(world, pool).gather(
                {"request_key": "same"}, {"request_key": "same"}, {"request_key": "other"}
            )
        same = {one.result(WAIT_S), other.result(WAIT_S)}
        assert len({made.run_id for made in same}) == 1
        assert not any(made.is_cached for made in same)
        assert own.result(WAIT_S).run_id not in {made.run_id for made in same}
    check_books()


def test_inside_a_transaction_nothing_is_gathered() -> None:
    """What others write never hangs on somebody's transaction, nor waits for it."""
    world = make_world()
    world.trigger()
    with ThreadPoolExecutor(THREADS) as pool:
        crowd = Crowd(world, pool)
        with closing_lanes():
            hanging = pool.submit(crowd.trigger_inside)
            wait_until(lambda: len(rows_of(WAITING)) == 1, what="a trigger that hangs")
            assert crowd.trigger(concurrency_key="another lane").result(WAIT_S).run_id
            assert not hanging.done()
        assert hanging.result(WAIT_S).run_id
    check_books()
