"""Runs that waited for too long: by the reconciler, and at the moment somebody would take them."""

from __future__ import annotations

import pytest

from runs.expiry import expire_waiting_runs
from runs.reconcilers import release_due_runs, release_waiting_versions, repair_stalled_runs
from runs.services.cancellation import cancel_run
from tests.api_client import json_of
from tests.running import (
    World,
    change,
    check_books,
    executing,
    failed,
    leased,
    make_due,
    make_version,
    make_world,
    rows_of,
    run_of,
    stall,
    states_of,
    task,
)

pytestmark = pytest.mark.django_db
EXPIRED = ("FINISHED", "EXPIRED")


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def wait_out(*run_ids: str) -> None:
    """Let the ttl of runs be over."""
    change(
        "UPDATE runs_taskrun SET ttl_ends_at = now() - interval '1 s'"
        " WHERE id = ANY (%s) AND ttl_ends_at IS NOT NULL",
        list(run_ids),
    )


def ends_in_s(run_id: str) -> float | None:
    """Give the seconds until a run has waited for too long."""
    ((left,),) = rows_of(
        "SELECT extract(epoch FROM ttl_ends_at - clock_timestamp())::float8 FROM runs_taskrun WHERE id = %s",
        run_id,
    )
    return None if left is None else float(left)


def test_a_run_that_waited_for_too_long_expires(world: World) -> None:
    """It ends with its own status, times and error; what has time left goes on waiting."""
    over, waiting, endless = world.trigger(ttl_s=60), world.trigger(ttl_s=3600), world.trigger()
    wait_out(over)
    result = expire_waiting_runs()
    assert (result, result.found, expire_waiting_runs()) == (1, 1, 0)
    run = run_of(over)
    assert states_of(over) == EXPIRED
    assert run.error == {"type": "STRING_ERROR", "raw": "It waited longer than its ttl of 1m"}
    assert run.expired_at is not None
    assert run.completed_at is not None
    assert states_of(waiting) == states_of(endless) == ("QUEUED", "PENDING")
    check_books()


def test_customers_see_an_expired_run_as_over(world: World) -> None:
    """EXPIRED counts as completed and failed, so that a client that polls comes to an end."""
    run_id = world.trigger(ttl_s=60)
    wait_out(run_id)
    expire_waiting_runs()
    run = json_of(world.api.get(f"/api/v3/runs/{run_id}"))
    assert (run["status"], run["isCompleted"], run["isFailed"], run["isQueued"]) == (
        "EXPIRED",
        True,
        True,
        False,
    )
    assert {"expiredAt", "finishedAt"} <= set(run)
    assert run["error"] == {"message": "It waited longer than its ttl of 1m"}
    result = json_of(world.api.get(f"/api/v1/runs/{run_id}/result"))
    assert (result["ok"], result["error"]["type"]) == (False, "STRING_ERROR")


def test_a_dequeue_gives_no_expired_run(world: World) -> None:
    """Also when nobody has come round to expire it: it is ended there, and the next one given."""
    over = [world.trigger(ttl_s=60, concurrency_key="k") for _ in range(3)]
    fresh = world.trigger(concurrency_key="k")
    wait_out(*over)
    assert world.lease_one().run.friendlyId == fresh
    assert {states_of(run_id) for run_id in over} == {EXPIRED}
    events = rows_of("SELECT event FROM runs_runsnapshot WHERE run_id = %s ORDER BY id", over[0])
    assert events == [("trigger",), ("expire",)]
    check_books()


def test_only_expired_runs_leave_nothing_to_give(world: World) -> None:
    """The lane closes as if it had been emptied."""
    over = world.trigger(ttl_s=60)
    wait_out(over)
    assert world.lease() == []
    assert states_of(over) == EXPIRED
    assert rows_of("SELECT count(*) FROM runs_lane") == [(0,)]


def test_its_key_is_free_again(world: World) -> None:
    """A failed run frees its key, by either way of expiring; the next call makes a new run."""
    for expire in (expire_waiting_runs, world.lease):
        first = world.trigger(ttl_s=60, idempotency_key="k")
        assert world.trigger(idempotency_key="k") == first
        wait_out(first)
        expire()
        assert states_of(first) == EXPIRED
        second = world.trigger(idempotency_key="k")
        assert second != first
        cancel_run(environment_id=world.environment_id, run_id=second)
        change("DELETE FROM runs_idempotencykey")


def test_a_ttl_ends_with_the_first_lease(world: World) -> None:
    """A run that was handed out never expires, however it comes back to its queue."""
    world.trigger(ttl_s=60)
    message = world.lease_one()
    run_id = message.run.friendlyId
    assert ends_in_s(run_id) is None
    world.complete(
        run_id, world.start(run_id, message.snapshot.friendlyId), failed(run_id), force_queue=True
    )
    assert (states_of(run_id), ends_in_s(run_id)) == (("QUEUED", "PENDING"), None)
    assert expire_waiting_runs() == 0
    assert world.lease_one().run.friendlyId == run_id


def test_a_lost_lease_does_not_arm_it_again(world: World) -> None:
    """Redelivery is no new wait."""
    run_id = world.trigger(ttl_s=60)
    world.lease_one()
    stall(run_id)
    assert repair_stalled_runs() == 1
    make_due(run_id)
    release_due_runs()
    assert (states_of(run_id), ends_in_s(run_id)) == (("QUEUED", "PENDING"), None)


def test_a_delayed_run_counts_from_when_it_is_due(world: World) -> None:
    """Its delay is no part of its wait."""
    body = {"options": {"delay": "1h", "ttl": "10m"}}
    run_id = json_of(world.api.post("/api/v1/tasks/hello/trigger", body))["id"]
    assert ends_in_s(run_id) is None
    make_due(run_id)
    release_due_runs()
    assert ends_in_s(run_id) == pytest.approx(600, abs=30)
    wait_out(run_id)
    assert expire_waiting_runs() == 1


def test_a_run_without_a_version_counts_from_its_release(world: World) -> None:
    """While nobody can run it, it waits for a version and not in a queue."""
    own, given = world.trigger("later"), world.trigger("later", ttl_s=60)
    assert (ends_in_s(own), ends_in_s(given)) == (None, None)
    make_version(world.tenant, task("hello"), task("later", ttl_s=90))
    release_waiting_versions()
    assert ends_in_s(own) == pytest.approx(90, abs=30)
    assert ends_in_s(given) == pytest.approx(60, abs=30)


def test_a_parked_run_does_not_expire(world: World) -> None:
    """It was taken from its queue; with its release it begins to wait anew."""
    run_id = world.trigger(ttl_s=60)
    version = make_version(world.tenant, task("other"))
    assert version
    assert world.lease() == []
    assert (states_of(run_id)[1], ends_in_s(run_id)) == ("PENDING_VERSION", None)
    make_version(world.tenant, task("hello"))
    release_waiting_versions()
    assert ends_in_s(run_id) == pytest.approx(60, abs=30)


def test_a_run_of_a_paused_queue_expires(world: World) -> None:
    """Limits and pauses make it wait; they do not stop its clock."""
    run_id = world.trigger(ttl_s=60)
    wait_out(run_id)
    change("UPDATE tenants_environment SET paused = true WHERE id = %s", world.environment_id)
    assert expire_waiting_runs() == 1
    assert states_of(run_id) == EXPIRED
    check_books()


def test_what_was_canceled_does_not_expire(world: World) -> None:
    """Nor what runs: only a wait can be too long."""
    run_id = world.trigger(ttl_s=60)
    cancel_run(environment_id=world.environment_id, run_id=run_id)
    attempt, _ = executing(world)
    held, _ = leased(world)
    change(
        "UPDATE runs_taskrun SET ttl_s = 1, ttl_ends_at = now() - interval '1 s' WHERE id = ANY (%s)",
        [run_id, attempt, held],
    )
    assert expire_waiting_runs() == 0
    assert states_of(run_id)[1] == "CANCELED"
    assert (states_of(attempt)[1], states_of(held)[1]) == ("EXECUTING", "DEQUEUED")
    assert rows_of("SELECT count(*) FROM runs_taskrun WHERE ttl_ends_at IS NOT NULL") == [(0,)]


def test_runs_of_many_environments_expire_in_one_tick(world: World) -> None:
    """Each environment under its own mutex, those that wait longest first."""
    make_version(world.tenant, slug="stg")
    staging = world.in_environment(world.tenant, "stg")
    runs = [place.trigger(ttl_s=60) for place in (world, staging) for _ in range(3)]
    wait_out(*runs)
    assert expire_waiting_runs() == 6
    assert {states_of(run_id) for run_id in runs} == {EXPIRED}
    check_books()
