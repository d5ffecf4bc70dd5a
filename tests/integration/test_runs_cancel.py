"""Canceling: in every state, with everything a run has started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runs.contracts import AttemptFailed, AttemptSucceeded
from runs.errors import RunNotFound
from runs.reconcilers import release_due_runs, release_waiting_versions, repair_stalled_runs
from runs.services.cancellation import cancel_run
from tests.api_client import json_of
from tests.running import (
    World,
    check_books,
    executing,
    failed,
    internal,
    leased,
    make_version,
    make_world,
    race,
    read_books,
    run_of,
    stall,
    states_of,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def retried_later(world: World) -> str:
    """Give a run that waits in the queue for its second attempt."""
    run_id, snapshot = executing(world)
    world.complete(run_id, snapshot, failed(run_id, delay_ms=60_000))
    return run_id


def retried_in_place(world: World) -> str:
    """Give a run whose workload is about to start its second attempt."""
    run_id, snapshot = executing(world)
    world.complete(run_id, snapshot, failed(run_id, delay_ms=100))
    return run_id


def canceled(world: World, run_id: str) -> None:
    """Cancel over the public API."""
    assert json_of(world.api.post(f"/api/v2/runs/{run_id}/cancel", None)) == {"id": run_id}


def delayed(world: World) -> str:
    """Give a run that waits for its time."""
    made = world.api.post("/api/v1/tasks/hello/trigger", {"options": {"delay": "1h"}})
    return str(json_of(made)["id"])


WAITING: dict[str, Callable[[World], str]] = {
    "queued": lambda world: world.trigger(),
    "delayed": delayed,
    "without a version": lambda world: world.trigger("unknown"),
    "retried later": retried_later,
}
WORKING: dict[str, Callable[[World], str]] = {
    "leased": lambda world: leased(world)[0],
    "executing": lambda world: executing(world)[0],
    "retried in place": retried_in_place,
}


@pytest.mark.parametrize("what", sorted(WAITING))
def test_what_nobody_executes_is_over_at_once(world: World, what: str) -> None:
    """It has left its place, nobody is given it, and nothing brings it back."""
    run_id = WAITING[what](world)
    canceled(world, run_id)
    assert states_of(run_id) == ("FINISHED", "CANCELED")
    assert run_of(run_id).completed_at is not None
    assert read_books().places[run_id] == []
    make_version(world.tenant, task("hello"), task("unknown"))
    assert (release_due_runs(), release_waiting_versions(), world.lease()) == (0, 0, [])
    check_books()


@pytest.mark.parametrize("what", sorted(WORKING))
def test_what_is_executed_is_over_when_that_is_confirmed(world: World, what: str) -> None:
    """Until then it is canceled for its owner and keeps its slot; without a word it ends later."""
    run_id = WORKING[what](world)
    canceled(world, run_id)
    assert states_of(run_id) == ("PENDING_CANCEL", "CANCELED")
    assert read_books().places[run_id] == ["lease"]
    shown = json_of(world.api.get(f"/api/v3/runs/{run_id}"))
    assert (shown["status"], shown["isCompleted"], shown["isCancelled"]) == ("CANCELED", True, True)
    assert repair_stalled_runs() == 0
    stall(run_id)
    assert (repair_stalled_runs(), repair_stalled_runs()) == (1, 0)
    assert states_of(run_id) == ("FINISHED", "CANCELED")
    check_books()


@pytest.mark.parametrize("what", ["success", "failure", "canceled"])
def test_the_workloads_word_confirms(world: World, what: str) -> None:
    """However it stopped, the run is over and its slot is free."""
    run_id, _ = executing(world)
    canceled(world, run_id)
    ends: dict[str, AttemptSucceeded | AttemptFailed] = {
        "success": AttemptSucceeded(ok=True, id=run_id),
        "failure": failed(run_id),
        "canceled": internal(run_id, "TASK_RUN_CANCELLED"),
    }
    done = world.complete(run_id, run_of(run_id).snapshot_id, ends[what])
    assert (done.attempt_status, states_of(run_id)) == ("RUN_FINISHED", ("FINISHED", "CANCELED"))
    check_books()


def test_canceling_again_changes_nothing(world: World) -> None:
    """Neither while it is being canceled nor when it is over."""
    run_id, _ = executing(world)
    canceled(world, run_id)
    before = run_of(run_id).snapshot_id
    canceled(world, run_id)
    assert run_of(run_id).snapshot_id == before


def test_a_finished_run_stays_as_it_is(world: World) -> None:
    """So does what it had started: it was not canceled."""
    run_id, snapshot = executing(world)
    child = world.trigger(parent_run_id=run_id)
    world.complete(run_id, snapshot)
    canceled(world, run_id)
    assert states_of(run_id) == ("FINISHED", "COMPLETED_SUCCESSFULLY")
    assert states_of(child) == ("QUEUED", "PENDING")


def test_children_are_canceled_too(world: World) -> None:
    """All of them, in whatever state; a second cancel finds those that a first one missed."""
    parent, _ = executing(world)
    child = world.trigger(parent_run_id=parent)
    assert world.lease_one().run.friendlyId == child
    grandchildren = [world.trigger(parent_run_id=child, slug=slug) for slug in ("hello", "unknown")]
    stranger = world.trigger()
    canceled(world, parent)
    assert [states_of(run)[0] for run in (parent, child)] == ["PENDING_CANCEL"] * 2
    assert {states_of(run) for run in grandchildren} == {("FINISHED", "CANCELED")}
    assert states_of(stranger) == ("QUEUED", "PENDING")
    late = world.trigger(parent_run_id=child)
    canceled(world, parent)
    assert states_of(late) == ("FINISHED", "CANCELED")
    check_books()


def test_another_environments_run_is_unknown(world: World) -> None:
    """404 for another tenant and another environment of the same one, and the run goes on."""
    run_id = world.trigger()
    staging = world.in_environment(world.tenant, "stg")
    for api in (make_world().api, staging.api):
        assert "error" in json_of(api.post(f"/api/v2/runs/{run_id}/cancel", None), 404)
    with pytest.raises(RunNotFound):
        cancel_run(environment_id=world.environment_id, run_id="run_nothing")
    assert states_of(run_id) == ("QUEUED", "PENDING")


@pytest.mark.django_db(transaction=True)
def test_cancel_and_dequeue_at_the_same_moment(redis_url: str) -> None:
    """Each run is either over at once or in somebody's hands and being canceled; never both."""
    world = make_world()
    runs = [world.trigger() for _ in range(24)]

    def _act(number: int) -> None:
        for run_id in runs[number // 2 :: 4]:
            if number % 2:
                cancel_run(environment_id=world.environment_id, run_id=run_id)
            else:
                world.lease()

    race(8, _act)
    for run_id in runs:
        assert states_of(run_id) in {("FINISHED", "CANCELED"), ("PENDING_CANCEL", "CANCELED")}
    check_books()
