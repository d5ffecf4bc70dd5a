"""What brings runs back: due times, versions that arrived, leases that ran out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.calls import TriggerCall
from runs.reconcilers import (
    RECONCILERS,
    forget_old_keys,
    release_due_runs,
    release_waiting_versions,
    repair_stalled_runs,
)
from runs.retry import MAX_DELIVERIES, MAX_LOST_ATTEMPTS
from runs.services.cancellation import cancel_run
from runs.services.trigger import trigger_run
from runs.tasks import reconcile
from tests.api_client import json_of
from tests.running import (
    Supervisor,
    World,
    change,
    check_books,
    executing,
    leased,
    make_due,
    make_version,
    make_world,
    race,
    read_books,
    rows_of,
    run_of,
    stall,
    states_of,
    task,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task that may be tried three times."""
    return make_world()


def stalled(world: World, run_id: str) -> None:
    """Let the run's lease run out and repair it, twice: the second time nothing is left to do."""
    stall(run_id)
    assert (repair_stalled_runs(), repair_stalled_runs()) == (1, 0)
    check_books()


def test_an_empty_world_needs_no_repair(world: World) -> None:
    """Nothing waits too long, so nothing is touched: not a waiting, a leased or an executing run."""
    runs = [executing(world)[0], leased(world)[0], world.trigger(), world.trigger("unknown")]
    before = [run_of(run_id).snapshot_id for run_id in runs]
    assert {act() for act in RECONCILERS.values()} == {0}
    assert [run_of(run_id).snapshot_id for run_id in runs] == before


def test_a_lease_that_was_never_started_is_handed_out_again(world: World) -> None:
    """After a while, counted; the runner of the lost lease comes too late."""
    run_id, snapshot = leased(world)
    stalled(world, run_id)
    assert (states_of(run_id), run_of(run_id).deliveries) == (("QUEUED", "PENDING"), 1)
    assert read_books().places[run_id] == ["delayed"]
    make_due(run_id)
    release_due_runs()
    message = world.lease_one()
    assert (message.run.friendlyId, message.dispatch) == (run_id, 2)
    assert message.snapshot.friendlyId > snapshot


def test_the_twelfth_lost_lease_ends_the_run(world: World) -> None:
    """Eleven are handed out again."""
    run_id, _ = leased(world)
    for _ in range(MAX_DELIVERIES - 1):
        stalled(world, run_id)
        make_due(run_id)
        release_due_runs()
        assert world.lease_one().run.friendlyId == run_id
    stalled(world, run_id)
    assert states_of(run_id) == ("FINISHED", "SYSTEM_FAILURE")
    assert (run_of(run_id).error or {})["code"] == "TASK_RUN_DEQUEUED_MAX_RETRIES"


def test_a_silent_attempt_is_tried_again_elsewhere(world: World) -> None:
    """Through the queue after a moment, as the next attempt, which is one more than it may have.

    Its worker was lost, so it does not count; but a dozen are enough, and then the usual ones.
    """
    run_id, snapshot = executing(world)
    for attempt in range(2, 3 + MAX_LOST_ATTEMPTS + 1):
        stalled(world, run_id)
        assert states_of(run_id) == ("QUEUED", "PENDING")
        make_due(run_id)
        release_due_runs()
        message = world.lease_one()
        assert message.run.attemptNumber == attempt
        snapshot = world.start(run_id, message.snapshot.friendlyId)
    stalled(world, run_id)
    run = run_of(run_id)
    assert (run.status, run.attempt_number) == ("COMPLETED_WITH_ERRORS", 3 + MAX_LOST_ATTEMPTS)
    assert run.lost_attempts == MAX_LOST_ATTEMPTS
    assert (run.error or {})["code"] == "TASK_RUN_STALLED_EXECUTING"
    assert snapshot < run.snapshot_id


def test_a_task_that_may_be_tried_once_is_not_tried_again(world: World) -> None:
    """It may have got anywhere before its worker was lost: whoever wants no repeat gets none."""
    world.trigger(max_attempts=1)
    run_id, _ = world.started()
    stalled(world, run_id)
    run = run_of(run_id)
    assert (run.status, run.attempt_number) == ("COMPLETED_WITH_ERRORS", 1)


def test_a_runner_is_told_of_the_attempts_that_do_not_count(world: World) -> None:
    """Those a run may have grow by each lost one, so that its runner asks for as many as before."""
    run_id = world.trigger()
    supervisor = Supervisor(world)
    for attempt, may_have in ((1, 3), (2, 4)):
        snapshot = world.lease_one().snapshot.friendlyId
        path = f"runs/{run_id}/snapshots/{snapshot}/attempts/start"
        execution = json_of(supervisor.act(path))["execution"]
        assert (execution["attempt"]["number"], execution["run"]["maxAttempts"]) == (
            attempt,
            may_have,
        )
        stalled(world, run_id)
        make_due(run_id)
        release_due_runs()


def test_a_silent_attempt_in_development_is_canceled() -> None:
    """The developer has stopped it: there is nobody to run it again, and nothing has failed."""
    world = make_world(slug="dev")
    run_id, _ = executing(world)
    stalled(world, run_id)
    assert states_of(run_id) == ("FINISHED", "CANCELED")
    assert (run_of(run_id).error or {})["code"] == "TASK_RUN_STALLED_EXECUTING"


def test_a_silent_wait_in_place_is_tried_again(world: World) -> None:
    """An attempt that waits with its workload up has its own code."""
    run_id, _ = executing(world)
    change(
        "UPDATE runs_taskrun SET execution_status = 'EXECUTING_WITH_WAITPOINTS' WHERE id = %s",
        run_id,
    )
    stalled(world, run_id)
    assert states_of(run_id) == ("QUEUED", "PENDING")


def test_one_that_cannot_be_repaired_does_not_keep_the_others(world: World) -> None:
    """A lease of a run that is gone, or of one in no state to repair, is passed over."""
    gone, odd, whole = (leased(world)[0] for _ in range(3))
    for run_id in (gone, odd, whole):
        stall(run_id)
    change("UPDATE runs_taskrun SET execution_status = 'QUEUED_EXECUTING' WHERE id = %s", odd)
    change("DELETE FROM runs_taskrun WHERE id = %s", gone)
    assert repair_stalled_runs() == 1
    assert states_of(whole) == ("QUEUED", "PENDING")


def test_many_due_runs_are_released_oldest_first(world: World) -> None:
    """All of them, each into its lane, in the order of their times."""
    until = datetime.now(UTC) + timedelta(hours=1)
    runs = [world.trigger(delay_until=until + timedelta(seconds=n)) for n in range(20)]
    for run_id in reversed(runs):
        make_due(run_id)
    assert (release_due_runs(), release_due_runs()) == (20, 0)
    check_books()
    assert [world.lease_one().run.friendlyId for _ in runs] == runs


def test_only_runs_whose_task_arrived_are_released(world: World) -> None:
    """The others, and other environments' runs of the same task, go on waiting."""
    staging = world.in_environment(world.tenant, "stg")
    new, other, elsewhere = world.trigger("new"), world.trigger("other"), staging.trigger("new")
    make_version(world.tenant, task("hello"), task("new"))
    assert (release_waiting_versions(), release_waiting_versions()) == (1, 0)
    assert [states_of(run_id)[0] for run_id in (new, other, elsewhere)] == [
        "QUEUED",
        "RUN_CREATED",
        "RUN_CREATED",
    ]
    check_books()


def test_keys_whose_time_is_over_are_forgotten(world: World) -> None:
    """Those still in force are kept; the runs are untouched."""
    old = datetime.now(UTC) - timedelta(hours=25)
    for at in (old, datetime.now(UTC)):
        call = TriggerCall(
            task="hello", idempotency_key=str(at), request_key=str(at), idempotency_key_ttl_s=3600
        )
        trigger_run(world.caller, call, now=at)
    assert (forget_old_keys(), forget_old_keys()) == (2, 0)
    assert rows_of("SELECT count(*) FROM runs_idempotencykey") == [(1,)]
    assert rows_of("SELECT count(*) FROM runs_requestkey") == [(1,)]
    assert rows_of("SELECT count(*) FROM runs_taskrun") == [(2,)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.fault(
    kills="nothing: two reconcilers at one moment",
    step="stalled",
    expects="each run is repaired once",
)
def test_two_at_once_repair_once(redis_url: str) -> None:
    """Four processes with the same work to do: each run is moved by one of them."""
    world = make_world()
    for run_id in [leased(world)[0] for _ in range(6)]:
        stall(run_id)
    until = datetime.now(UTC) + timedelta(hours=1)
    for run_id in [world.trigger(delay_until=until) for _ in range(6)]:
        make_due(run_id)
    waiting = [world.trigger("new") for _ in range(6)]
    make_version(world.tenant, task("hello"), task("new"))
    acts = list(RECONCILERS.values())
    race(2 * len(acts), lambda number: acts[number % len(acts)]())
    assert {states_of(run_id)[0] for run_id in waiting} == {"QUEUED"}
    check_books()
    moves = rows_of(
        "SELECT run_id FROM runs_runsnapshot GROUP BY run_id, event HAVING count(*) > 1"
    )
    assert moves == []


@pytest.mark.django_db(transaction=True)
def test_a_tick_that_finds_another_at_work_does_nothing(redis_url: str) -> None:
    """A reconciler runs once at a time; the lock is free again afterwards."""
    world = make_world()
    stall(leased(world)[0])
    fixed = race(4, lambda _: reconcile("repair_stalled_runs"))
    assert sum(fixed) == 1
    stall(leased(world)[0])
    assert reconcile("repair_stalled_runs") == 1


def suspended(world: World) -> str:
    """Give a run as a newer release leaves it that lets runs wait: saved, and holding nothing."""
    run_id, _ = executing(world)
    change("SELECT runs_end_lease(%s)", run_id)
    change(
        "UPDATE runs_taskrun SET execution_status = 'SUSPENDED', status = 'WAITING_TO_RESUME',"
        " updated_at = now() WHERE id = %s",
        run_id,
    )
    return run_id


def test_a_suspended_run_is_looked_after(world: World) -> None:
    """It is never lost: when its time is over and nothing is left that it waits for, it goes on."""
    run_id = suspended(world)
    assert reconcile("compare_books") == 1
    check_books()
    ((left_s,),) = rows_of(
        "SELECT extract(epoch FROM due_at - now()) FROM runs_delayedentry WHERE run_id = %s", run_id
    )
    assert float(left_s) == pytest.approx(600, abs=30)
    assert (release_due_runs(), world.lease()) == (0, [])
    make_due(run_id)
    assert (release_due_runs(), release_due_runs()) == (1, 0)
    assert (states_of(run_id), run_of(run_id).deliveries) == (("QUEUED", "PENDING"), 0)
    message = world.lease_one()
    assert message.run.attemptNumber == 2
    world.complete(run_id, world.start(run_id, message.snapshot.friendlyId))
    assert states_of(run_id) == ("FINISHED", "COMPLETED_SUCCESSFULLY")
    check_books()


def test_a_suspended_run_can_be_canceled(world: World) -> None:
    """At once, as one that waits; nothing of it is left in the queue."""
    run_id = suspended(world)
    reconcile("compare_books")
    cancel_run(environment_id=world.environment_id, run_id=run_id)
    assert states_of(run_id) == ("FINISHED", "CANCELED")
    assert read_books().places[run_id] == []
