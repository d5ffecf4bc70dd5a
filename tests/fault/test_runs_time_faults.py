"""Expiry, reschedules, leases and cancels at one moment; beat that stalls and a Redis that is gone."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import ProgrammingError
from kombu.exceptions import OperationalError

from runs.bookkeeping import compare_books
from runs.errors import NotDelayed
from runs.expiry import expire_waiting_runs
from runs.reconciler_records import list_reconcilers
from runs.reconcilers import RECONCILERS, release_due_runs
from runs.services.cancellation import cancel_run
from runs.services.rescheduling import reschedule_run
from runs.tasks import reconcile
from tenants.errors import Conflict
from tests.running import (
    World,
    change,
    check_books,
    make_due,
    make_world,
    race,
    rows_of,
    run_of,
    states_of,
)
from tests.sizes import sized

if TYPE_CHECKING:
    from runs.contracts import DequeuedMessage
    from tests.servers import Servers

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = sized(8, full=60)
RUNS = 12
STEPS = sized(30, full=200)  # of each of eight threads


@pytest.fixture
def world(redis_url: str) -> World:
    """Give a world with one task, in a database that commits."""
    return make_world()


def wait_out() -> None:
    """Let every ttl be over."""
    change("UPDATE runs_taskrun SET ttl_ends_at = now() - interval '1 s' WHERE ttl_ends_at > now()")


def ends_of(run_id: str) -> list[str]:
    """Give the moves of a run that end it or hand it out."""
    found = rows_of(
        "SELECT event FROM runs_runsnapshot WHERE run_id = %s AND is_valid"
        " AND event IN ('dequeue', 'expire', 'cancel') ORDER BY id",
        run_id,
    )
    return [event for (event,) in found]


def test_expiring_leasing_and_canceling_at_once(world: World) -> None:
    """Each run is expired or canceled, once, and none of them is given to anybody."""
    for _ in range(ROUNDS):
        runs = [world.trigger(ttl_s=60, idempotency_key=f"k{n}") for n in range(RUNS)]
        wait_out()

        def _act(number: int, runs: list[str] = runs) -> list[object]:
            if number % 3 == 0:
                return [expire_waiting_runs()]
            if number % 3 == 1:
                return list(world.lease(count=3))
            for run_id in random.sample(runs, 4):
                cancel_run(environment_id=world.environment_id, run_id=run_id)
            return []

        got = race(6, _act)
        assert [message for number in (1, 4) for message in got[number]] == []
        expire_waiting_runs()
        assert {states_of(run_id) for run_id in runs} <= {
            ("FINISHED", "EXPIRED"),
            ("FINISHED", "CANCELED"),
        }
        assert [len(ends_of(run_id)) for run_id in runs] == [1] * RUNS
        kept = rows_of("SELECT run_id FROM runs_idempotencykey ORDER BY run_id")
        assert kept == [(run_id,) for run_id in sorted(runs) if run_of(run_id).status == "CANCELED"]
        check_books()
        change("DELETE FROM runs_idempotencykey")


def test_a_ttl_that_ends_while_runs_are_leased(world: World) -> None:
    """Each run is either given or expired, never both, whoever is first."""
    for _ in range(ROUNDS):
        runs = [world.trigger(ttl_s=60) for _ in range(RUNS)]

        def _act(number: int) -> list[str]:
            if number == 0:
                wait_out()
                return []
            if number == 1:
                expire_waiting_runs()
                return []
            return [message.run.friendlyId for message in world.lease(count=4)]

        given = [run_id for got in race(4, _act) for run_id in got]
        expire_waiting_runs()
        assert len(given) == len(set(given))
        for run_id in runs:
            assert ends_of(run_id) == (["dequeue"] if run_id in given else ["expire"])
        check_books()
        for run_id in given:
            cancel_run(environment_id=world.environment_id, run_id=run_id)
        change("UPDATE runs_lease SET due_at = now() + interval '1 day'")


def test_rescheduling_against_coming_due(world: World) -> None:
    """Either it is put off and waits, or it is ready and the caller is told; never something between."""
    for _ in range(ROUNDS):
        run_id = world.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1))
        make_due(run_id)
        later = datetime.now(UTC) + timedelta(hours=2)

        def _act(number: int, run_id: str = run_id, later: datetime = later) -> str:
            if number % 2:
                release_due_runs()
                return ""
            try:
                reschedule_run(
                    environment_id=world.environment_id, run_id=run_id, delay_until=later
                )
            except NotDelayed:
                return "refused"
            return "put off"

        told = {word for word in race(4, _act) if word}
        state = states_of(run_id)[0]
        assert (told, state) in [({"put off"}, "DELAYED"), ({"refused"}, "QUEUED")]
        check_books()
        cancel_run(environment_id=world.environment_id, run_id=run_id)


def test_a_cancel_is_never_refused_for_a_start(world: World) -> None:
    """Whoever is first: the run is being canceled, and the caller is not told of a conflict."""
    for _ in range(ROUNDS):
        world.trigger()
        message = world.lease_one()
        run_id = message.run.friendlyId

        def _act(number: int, message: DequeuedMessage = message) -> None:
            if number:
                cancel_run(environment_id=world.environment_id, run_id=message.run.friendlyId)
                return
            with suppress(Conflict):  # the start may come too late
                world.start(message.run.friendlyId, message.snapshot.friendlyId)

        race(2, _act)
        assert states_of(run_id) == ("PENDING_CANCEL", "CANCELED")
        check_books()


def test_comparing_the_books_while_everything_moves(world: World) -> None:
    """Each query sees one moment: however much goes on, nothing is found that is not there."""

    def _act(number: int) -> list[int]:
        chance = random.Random(number)
        if number == 0:
            return [compare_books().found for _ in range(STEPS // 2)]
        for _ in range(STEPS):
            _step(world, chance)
        return []

    (found, *_) = race(8, _act)
    assert set(found) == {0}
    check_books()


def _step(world: World, chance: random.Random) -> None:
    act = chance.choice(["trigger", "trigger", "lease", "end", "cancel", "expire", "due"])
    if act == "trigger":
        until = datetime.now(UTC) + timedelta(milliseconds=50) if chance.random() < 0.3 else None
        world.trigger(
            ttl_s=chance.choice([None, 0, 60]),
            delay_until=until,
            concurrency_key=chance.choice(["", "k"]),
        )
    elif act == "lease":
        world.lease(count=2)
    elif act == "end":
        for message in world.lease():
            run_id = message.run.friendlyId
            with suppress(Conflict):  # canceled before it was started
                world.complete(run_id, world.start(run_id, message.snapshot.friendlyId))
    elif act == "cancel":
        for (run_id,) in rows_of(
            "SELECT id FROM runs_taskrun WHERE execution_status IN ('QUEUED', 'DELAYED') LIMIT 2"
        ):
            cancel_run(environment_id=world.environment_id, run_id=run_id)
    else:
        RECONCILERS["expire_waiting_runs" if act == "expire" else "release_due_runs"]()


def test_a_stalled_beat_makes_things_late(world: World) -> None:
    """Nobody ran a reconciler for an hour: the first tick of each does all of it."""
    over = [world.trigger(ttl_s=60) for _ in range(3)]
    due = world.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1), ttl_s=60)
    make_due(due)
    wait_out()
    for name in sorted(RECONCILERS):
        reconcile(name)
    assert {states_of(run_id)[1] for run_id in over} == {"EXPIRED"}
    assert world.lease_one().run.friendlyId == due
    check_books()


def test_without_redis_time_goes_on(world: World, servers: Servers) -> None:
    """Expiry, due times and reschedules need the database only; a tick that cannot be sent is late."""
    servers.stop_valkey()
    over = world.trigger(ttl_s=60)
    put_off = world.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1))
    due = world.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1))
    wait_out()
    make_due(due)
    with pytest.raises(OperationalError):
        reconcile.delay("expire_waiting_runs")
    answer = world.api.post(f"/api/v1/runs/{put_off}/reschedule", {"delay": "2h"})
    assert answer.status_code == 200
    assert (reconcile("expire_waiting_runs"), reconcile("release_due_runs")) == (1, 1)
    assert [states_of(run_id)[1] for run_id in (over, put_off, due)] == [
        "EXPIRED",
        "DELAYED",
        "PENDING",
    ]
    assert world.lease_one().run.friendlyId == due
    check_books()


def test_a_reconciler_that_breaks_says_why(world: World) -> None:
    """The job fails, the others go on, and staff read the error until it runs again."""
    over = world.trigger(ttl_s=60)
    wait_out()
    change("ALTER TABLE runs_delayedentry RENAME TO runs_gone")
    try:
        with pytest.raises(ProgrammingError):
            reconcile("release_due_runs")
        change("ALTER TABLE runs_gone RENAME TO runs_delayedentry")
        assert reconcile("expire_waiting_runs") == 1
    finally:
        change("ALTER TABLE IF EXISTS runs_gone RENAME TO runs_delayedentry")
    (state,) = list_reconcilers(["release_due_runs"])
    assert "runs_delayedentry" in str(state.error)
    assert states_of(over) == ("FINISHED", "EXPIRED")
    assert reconcile("release_due_runs") == 0
    assert list_reconcilers(["release_due_runs"])[0].error is None
