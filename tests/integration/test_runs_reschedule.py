"""Another time for a delayed run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs.reconcilers import release_due_runs
from tests.api_client import json_of
from tests.factories import make_tenant
from tests.running import (
    World,
    change,
    check_books,
    executing,
    make_due,
    make_world,
    rows_of,
    run_of,
    states_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def delayed(world: World, **call: Any) -> str:
    """Trigger a run that waits for an hour."""
    return world.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1), **call)


def reschedule(world: World, run_id: str, body: object, *, status: int = 200) -> Any:
    """Ask for another delay."""
    return json_of(world.api.post(f"/api/v1/runs/{run_id}/reschedule", body), status)


def due_in_s(run_id: str) -> float:
    """Give the seconds until a run is made ready."""
    ((left,),) = rows_of(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM runs_delayedentry"
        " WHERE run_id = %s",
        run_id,
    )
    return float(left)


@pytest.mark.parametrize(("delay", "seconds"), [("2h", 7200), ("1s", 1), ("1w2d", 777_600)])
def test_a_duration_counts_from_now(world: World, delay: str, seconds: float) -> None:
    """Later or earlier than before; the answer is the whole run, and the move is on record."""
    run_id = delayed(world, priority_ms=5000)
    answer = reschedule(world, run_id, {"delay": delay})
    assert due_in_s(run_id) == pytest.approx(seconds, abs=30)
    run = run_of(run_id)
    assert run.delay_until is not None
    assert run.score == int(run.delay_until.timestamp() * 1000) - 5000
    assert (answer["id"], answer["status"]) == (run_id, "DELAYED")
    shown = datetime.fromisoformat(answer["delayedUntil"])
    assert abs(shown - run.delay_until) < timedelta(milliseconds=1)
    events = rows_of("SELECT event FROM runs_runsnapshot WHERE run_id = %s ORDER BY id", run_id)
    assert events == [("trigger",), ("reschedule",)]
    check_books()


def test_a_date_is_the_moment_itself(world: World) -> None:
    """As clients write dates: ISO 8601 with Z."""
    run_id = delayed(world)
    answer = reschedule(world, run_id, {"delay": "2031-05-06T07:08:09.000Z"})
    assert answer["delayedUntil"] == "2031-05-06T07:08:09.000Z"
    assert run_of(run_id).delay_until == datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"delay": "soon"}, "Invalid delay: soon"),
        ({"delay": "2020-01-01T00:00:00Z"}, "Invalid delay: 2020-01-01T00:00:00Z"),
        ({"delay": "0s"}, "Invalid delay: 0s"),
        ({"delay": 5}, "delay"),
        ({"delay": None}, "delay"),
        ({}, "delay: is required"),
        ([], "The request body is not a JSON object"),
    ],
)
def test_a_delay_that_is_none_is_refused(world: World, body: object, sentence: str) -> None:
    """400 with the reason, and the run waits as before."""
    run_id = delayed(world)
    before = run_of(run_id).snapshot_id
    assert sentence in reschedule(world, run_id, body, status=400)["error"]
    assert due_in_s(run_id) == pytest.approx(3600, abs=30)
    assert run_of(run_id).snapshot_id == before


def test_only_a_delayed_run_can_be_rescheduled(world: World) -> None:
    """Queued, executing, parked and canceled runs are refused alike."""
    over = delayed(world)
    json_of(world.api.post(f"/api/v2/runs/{over}/cancel", {}))
    attempt, _ = executing(world)
    for run_id in (world.trigger(), attempt, world.trigger("unknown"), over):
        refused = reschedule(world, run_id, {"delay": "1h"}, status=400)
        assert refused["error"] == "Cannot reschedule a run that is not delayed"


def test_anothers_run_is_not_found(world: World) -> None:
    """Neither an unknown one, nor another tenant's, nor another environment's."""
    run_id = delayed(world)
    other = world.in_environment(make_tenant())
    staging = world.in_environment(world.tenant, "stg")
    for place, wanted in ((world, "run_nobody"), (other, run_id), (staging, run_id)):
        reschedule(place, wanted, {"delay": "1h"}, status=404)
    assert due_in_s(run_id) == pytest.approx(3600, abs=30)


def test_a_run_that_is_due_can_still_be_put_off(world: World) -> None:
    """Until it is made ready, it is delayed."""
    run_id = delayed(world)
    make_due(run_id)
    reschedule(world, run_id, {"delay": "1h"})
    assert release_due_runs() == 0
    assert states_of(run_id) == ("DELAYED", "DELAYED")


def test_it_waits_for_the_new_time_only(world: World) -> None:
    """Once that is there it is given, in the order of the new times."""
    first, second = delayed(world), delayed(world)
    reschedule(world, first, {"delay": "3h"})
    reschedule(world, second, {"delay": "2h"})
    change("UPDATE runs_delayedentry SET due_at = now() - interval '1 s'")
    assert release_due_runs() == 2
    assert [world.lease_one().run.friendlyId for _ in range(2)] == [second, first]
