"""What waits on a worker queue, and whether it is being started."""

from __future__ import annotations

import pytest

from runs.contracts import DispatchFailed
from runs.reconcilers import release_due_runs
from runs.services.leases import fail_dispatch
from runs.starting import QueueStanding, list_queue_standings
from tenants.services import EnvironmentChanges, update_environment
from tests.factories import ORIGIN
from tests.running import World, change, leased, make_world

pytestmark = pytest.mark.django_db

AWAY = DispatchFailed(reason="no_capacity", message="the gateway is away", permanent=False)
SAID = "No workload could be started (no_capacity): the gateway is away"


def standing(world: World) -> QueueStanding:
    """Give what is said of the world's worker queue."""
    (found,) = list_queue_standings([world.queue])
    return found


def hand_back(world: World) -> str:
    """Lease the next run, fail to start it, and give its id."""
    run_id, snapshot_id = leased(world)
    fail_dispatch(
        run_id=run_id,
        snapshot_id=snapshot_id,
        failure=AWAY,
        scope=world.scope,
        mover=world.mover(),
    )
    return run_id


def age(run_id: str, seconds: int) -> None:
    """Let a run have been queued, and moved last, so long ago."""
    change("UPDATE runs_taskrun SET score = score - %s WHERE id = %s", seconds * 1000, run_id)
    change(
        "UPDATE runs_readyentry SET score = score - %s WHERE run_id = %s", seconds * 1000, run_id
    )
    change("SET LOCAL session_replication_role = 'replica'")  # snapshots are append-only
    change(
        "UPDATE runs_runsnapshot SET created_at = created_at - make_interval(secs => %s)"
        " WHERE run_id = %s",
        seconds,
        run_id,
    )
    change("SET LOCAL session_replication_role = 'origin'")


def test_nothing_waits_on_an_idle_queue() -> None:
    """A queue without runs is named all the same, with zeros."""
    world = make_world()
    assert standing(world) == QueueStanding(world.queue, 0, 0.0, 0, 0, 0.0, "")


def test_what_may_be_taken_is_counted_with_its_age() -> None:
    """The oldest says for how long nobody has taken anything."""
    world = make_world()
    age(world.trigger(), 90)
    world.trigger()
    found = standing(world)
    assert (found.ready, found.leased, found.handed_back) == (2, 0, 0)
    assert 89 < found.ready_s < 120


def test_what_a_pause_holds_back_does_not_count() -> None:
    """A customer who paused an environment is no reason to be woken."""
    world = make_world()
    age(world.trigger(), 90)
    update_environment(world.environment_id, EnvironmentChanges(paused=True), **ORIGIN)
    assert world.lease() == []
    assert standing(world).ready_s == 0


def test_a_refused_start_is_told_until_the_run_begins() -> None:
    """Back-off, next lease and all: the run counts as handed back, with the last reason."""
    world = make_world()
    run_id = world.trigger()
    age(run_id, 45)
    assert hand_back(world) == run_id
    waiting = standing(world)
    assert (waiting.handed_back, waiting.last_reason) == (1, SAID)
    assert waiting.handed_back_s > 44
    change("UPDATE runs_delayedentry SET due_at = now() - interval '1 second'")
    release_due_runs()
    assert standing(world).handed_back == 1
    again = world.lease_one()
    assert (standing(world).handed_back, standing(world).leased) == (1, 1)
    world.start(run_id, again.snapshot.friendlyId)
    begun = standing(world)
    assert (begun.handed_back, begun.leased, begun.last_reason) == (0, 1, "")


def test_a_first_lease_is_no_trouble() -> None:
    """A run that was just taken has not been handed back by anybody."""
    world = make_world()
    world.trigger()
    world.lease_one()
    assert (standing(world).handed_back, standing(world).leased) == (0, 1)


def test_other_queues_have_their_own_numbers() -> None:
    """Each queue that is asked for is told apart, the others are left out."""
    first = make_world()
    first.trigger()
    second = make_world()
    found = {
        one.worker_queue: one.ready for one in list_queue_standings([second.queue, first.queue])
    }
    assert found == {first.queue: 1, second.queue: 0}
    assert [one.worker_queue for one in list_queue_standings([second.queue])] == [second.queue]
