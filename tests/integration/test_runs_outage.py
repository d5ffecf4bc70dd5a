"""Leases and outages: silence counts only while somebody listens, and then it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.conf import settings

from runs.reconcilers import repair_stalled_runs
from runs.services.attempts import heartbeat_run
from runs.services.cancellation import cancel_run
from runs.services.presence import DEAF_AFTER_S, is_listening, note_presence
from tests.running import (
    World,
    change,
    check_books,
    due_in_s,
    executing,
    leased,
    make_world,
    race,
    stall,
    states_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db

OUTAGE_S = 3600.0


@pytest.fixture
def world(db: None) -> World:
    """Give a world that is listened to, with one task."""
    note_presence()
    return make_world()


def outage(seconds: float) -> None:
    """Let so much time pass in which nobody listens; the clock of the database stands still."""
    back = "- %s * interval '1 second'"
    change(f"UPDATE runs_presence SET heard_at = clock_timestamp() {back}", seconds)
    change(f"UPDATE runs_lease SET due_at = due_at {back}", seconds)


def canceling(world: World) -> tuple[str, str]:
    """Give an executing run that was canceled and whose workload has not confirmed."""
    run_id, snapshot = executing(world)
    cancel_run(environment_id=world.environment_id, run_id=run_id)
    return run_id, snapshot


HOLDING: dict[str, Callable[[World], tuple[str, str]]] = {
    "leased": leased,
    "executing": executing,
    "canceling": canceling,
}


@pytest.mark.parametrize("what", HOLDING)
def test_nothing_runs_out_while_nobody_listens(world: World, what: str) -> None:
    """Whatever its lease says: its workload may be alive and unable to say so."""
    run_id, _ = HOLDING[what](world)
    before = states_of(run_id)
    outage(OUTAGE_S)
    assert due_in_s(run_id) < 0
    assert (is_listening(), repair_stalled_runs()) == (False, 0)
    assert states_of(run_id) == before


@pytest.mark.parametrize("what", HOLDING)
def test_after_an_outage_a_lease_lasts_as_long_as_it_had_left(world: World, what: str) -> None:
    """The first note gives the time back, once; nothing is taken back meanwhile."""
    run_id, _ = HOLDING[what](world)
    left_s = due_in_s(run_id)
    outage(OUTAGE_S)
    assert note_presence() == pytest.approx(OUTAGE_S, abs=5)
    assert (note_presence(), is_listening()) == (0.0, True)
    assert due_in_s(run_id) == pytest.approx(left_s, abs=5)
    assert repair_stalled_runs() == 0
    check_books()


@pytest.mark.fault(
    kills="web is away for longer than a lease",
    step="executing",
    expects="silence that nobody could hear does not count",
)
def test_a_living_workload_goes_on_after_an_outage(world: World) -> None:
    """It had just sent a heartbeat when the outage began, and has an interval to send the next."""
    run_id, snapshot = executing(world)
    outage(OUTAGE_S)
    note_presence()
    assert repair_stalled_runs() == 0
    assert heartbeat_run(run_id=run_id, snapshot_id=snapshot, scope=world.scope)
    assert states_of(run_id) == ("EXECUTING", "EXECUTING")


@pytest.mark.fault(
    kills="web and a runner",
    step="executing",
    expects="the dead runner is found after the outage",
)
def test_a_dead_workload_is_found_after_an_outage(world: World) -> None:
    """It is silent for the rest of its time while somebody listens, and then taken back."""
    run_id, _ = executing(world)
    outage(OUTAGE_S)
    note_presence()
    stall(run_id)
    assert repair_stalled_runs() == 1
    assert states_of(run_id) == ("QUEUED", "PENDING")


def test_what_had_run_out_before_is_taken_back_at_once(world: World) -> None:
    """Only the time of the outage is given back."""
    run_id, _ = executing(world)
    stall(run_id)
    outage(OUTAGE_S)
    note_presence()
    assert repair_stalled_runs() == 1
    assert states_of(run_id) == ("QUEUED", "PENDING")


def test_in_normal_times_the_dead_are_found_in_time(world: World) -> None:
    """Notes that come each second, or one that is late, give nothing back."""
    run_id, _ = executing(world)
    due_s = due_in_s(run_id)
    for late_s in (0.0, 1.0, DEAF_AFTER_S - 1):
        change(
            "UPDATE runs_presence SET heard_at = clock_timestamp() - %s * interval '1 s'", late_s
        )
        assert (is_listening(), note_presence()) == (True, 0.0)
    assert due_in_s(run_id) == pytest.approx(due_s, abs=5)
    change("UPDATE runs_lease SET due_at = now() - interval '1 ms'")
    assert repair_stalled_runs() == 1


def test_a_lease_made_after_the_return_lasts_no_longer_than_others(world: World) -> None:
    """The web process that gave it may not have noted yet that it is back."""
    old, _ = executing(world)
    outage(OUTAGE_S)
    new, _ = executing(world)
    note_presence()
    most_s = settings.ENV.timeout_executing_ms / 1000
    assert due_in_s(old) == pytest.approx(most_s, abs=5)
    assert due_in_s(new) == pytest.approx(most_s, abs=5)


def test_a_lease_that_was_given_longer_keeps_it(world: World) -> None:
    """A retry that waits in its workload has more than a timeout left; nothing is cut."""
    run_id, _ = executing(world)
    change("UPDATE runs_lease SET due_at = clock_timestamp() + interval '1 day'")
    change("UPDATE runs_presence SET heard_at = clock_timestamp() - interval '1 hour'")
    note_presence()
    assert due_in_s(run_id) == pytest.approx(86_400, abs=5)


def test_a_new_database_waits_for_the_first_note(world: World) -> None:
    """Nobody has listened yet; from the first note on somebody does."""
    change("DELETE FROM runs_presence")
    assert not is_listening()
    assert (note_presence(), is_listening()) == (0.0, True)


@pytest.mark.django_db(transaction=True)
def test_of_many_that_return_at_once_one_gives_back(redis_url: str) -> None:
    """Eight web processes start after an outage while four heartbeats arrive: once, no deadlock."""
    world = make_world()
    note_presence()
    runs = [executing(world) for _ in range(4)]
    outage(600.0)

    def _act(number: int) -> float:
        if number < len(runs):
            run_id, snapshot = runs[number]
            heartbeat_run(run_id=run_id, snapshot_id=snapshot, scope=world.scope)
            return 0.0
        return note_presence()

    assert [gap > 0 for gap in race(12, _act)].count(True) == 1
    most_s = settings.ENV.timeout_executing_ms / 1000
    assert all(0 < due_in_s(run_id) < most_s + 5 for run_id, _ in runs)
    check_books()
