"""Runs and the queue's tables compared: every difference is found, counted and repaired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest

from deployments.region_snapshot import LIVENESS, REGIONS
from flags.snapshot import GLOBAL_FLAGS
from runs.bookkeeping import compare_books
from runs.expiry import expire_waiting_runs
from runs.reconciler_records import list_reconcilers, record_failure, record_run
from runs.tasks import ALL_RECONCILERS, reconcile
from tests.api_client import ApiClient, json_of
from tests.factories import make_person
from tests.running import (
    World,
    change,
    check_books,
    executing,
    leased,
    make_version,
    make_world,
    rows_of,
    run_of,
    states_of,
    task,
)
from webapp.reconciler_metrics import ReconcilerCollector

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
RECONCILERS = "/admin/api/v1/reconcilers"


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def delayed(world: World) -> str:
    """Trigger a run that waits for an hour."""
    return world.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1))


def everywhere(world: World) -> dict[str, str]:
    """Give a run in every place and one that is over, by what it is."""
    return {
        "executing": executing(world)[0],
        "leased": leased(world)[0],
        "ready": world.trigger(),
        "delayed": delayed(world),
        "version": world.trigger("unknown"),
    }


def compared() -> int:
    """Compare and repair; whatever was wrong is right afterwards, and stays so."""
    found = compare_books()
    assert found == found.found
    check_books()
    again = compare_books()
    assert (again, again.found) == (0, 0)
    return int(found)


def test_there_is_nothing_to_find(world: World) -> None:
    """Runs in every place and books that are right: nothing is touched."""
    runs = everywhere(world)
    before = [run_of(run_id).snapshot_id for run_id in runs.values()]
    assert compared() == 0
    assert [run_of(run_id).snapshot_id for run_id in runs.values()] == before


@pytest.mark.parametrize(
    ("which", "table"),
    [
        ("ready", "runs_readyentry"),
        ("delayed", "runs_delayedentry"),
        ("version", "runs_versionwait"),
        ("leased", "runs_lease"),
        ("executing", "runs_lease"),
    ],
)
def test_a_run_that_is_nowhere_is_brought_back(world: World, which: str, table: str) -> None:
    """It is put where its state says, and goes on from there."""
    run_id = everywhere(world)[which]
    change(f"DELETE FROM {table} WHERE run_id = %s", run_id)
    assert compared() >= 1
    assert rows_of(f"SELECT run_id FROM {table} WHERE run_id = %s", run_id) == [(run_id,)]


def test_a_run_that_lost_its_entry_is_given_again(world: World) -> None:
    """It has not been forgotten: the next dequeue gives it."""
    run_id = world.trigger()
    change("DELETE FROM runs_readyentry")
    assert world.lease() == []
    assert compared() == 1
    assert world.lease_one().run.friendlyId == run_id


def test_a_run_in_two_places_keeps_one(world: World) -> None:
    """The place its state allows stays, every other entry goes, slots included."""
    runs = everywhere(world)
    change(
        "INSERT INTO runs_delayedentry SELECT id, now() FROM runs_taskrun WHERE id = ANY (%s)",
        [runs["ready"], runs["leased"], runs["version"]],
    )
    change(
        "INSERT INTO runs_lease (run_id, environment_id, queue_name, concurrency_key, due_at)"
        " SELECT id, environment_id, queue_name, concurrency_key, now() FROM runs_taskrun"
        " WHERE id = %s",
        runs["delayed"],
    )
    assert compared() >= 4


def test_a_finished_run_is_nowhere(world: World) -> None:
    """What is left of it in the queue is taken away, so that nobody gets it."""
    run_id = world.trigger()
    change(
        "UPDATE runs_taskrun SET execution_status = 'FINISHED', status = 'CANCELED' WHERE id = %s",
        run_id,
    )
    assert compared() == 1
    assert world.lease() == []


def test_entries_of_runs_that_are_gone_go_too(world: World) -> None:
    """Without them a dequeue would stumble over the first."""
    runs = everywhere(world)
    change("DELETE FROM runs_taskrun WHERE id = ANY (%s)", list(runs.values()))
    change("DELETE FROM runs_runsnapshot WHERE run_id = ANY (%s)", list(runs.values()))
    assert compared() >= 5
    fresh = world.trigger()
    assert world.lease_one().run.friendlyId == fresh


def test_an_entry_in_another_lane_is_moved(world: World) -> None:
    """A run is in the lane its row names."""
    run_id = world.trigger()
    change("UPDATE runs_readyentry SET score = score - 1")
    assert compared() == 2, "one that is wrong, one that is missing"
    assert world.lease_one().run.friendlyId == run_id


@pytest.mark.parametrize("table", ["runs_lane", "runs_environmentturn"])
def test_a_closed_lane_with_entries_is_opened(world: World, table: str) -> None:
    """Nobody would look into it until the next trigger."""
    runs = [world.trigger(), world.trigger()]
    change(f"DELETE FROM {table}")
    assert world.lease() == []
    assert compared() == 1
    assert [world.lease_one().run.friendlyId for _ in runs] == runs


@pytest.mark.parametrize("table", ["runs_environmentslots", "runs_queueslots"])
def test_a_counter_is_counted_anew(world: World, table: str) -> None:
    """A slot that is counted and not held would be lost for ever."""
    executing(world)
    change(f"UPDATE {table} SET running = running + 99")
    waiting = world.trigger()
    assert compared() == 1
    assert world.lease_one().run.friendlyId == waiting


@pytest.mark.parametrize("table", ["runs_lane", "runs_environmentturn"])
def test_what_is_shut_without_a_reason_is_opened(world: World, table: str) -> None:
    """A lane with a slot left, and an environment with one, may be taken from."""
    run_id = world.trigger()
    change(f"UPDATE {table} SET blocked = true")
    assert world.lease() == []
    assert compared() == 1
    assert world.lease_one().run.friendlyId == run_id


def test_what_is_shut_for_a_reason_stays_shut(world: World) -> None:
    """A limit that is reached, and a pause, are no differences."""
    make_version(world.tenant, task())
    change("UPDATE deployments_taskqueue SET concurrency_limit = 1")
    executing(world)
    world.trigger()
    assert (world.lease(), compared()) == ([], 0)
    change("UPDATE tenants_environment SET paused = true")
    assert (world.lease(), compared()) == ([], 0)


def test_a_run_queued_by_an_older_release_expires_too(world: World) -> None:
    """It did not say when the ttl ends; that follows from when the run was queued."""
    run_id = world.trigger(ttl_s=60)
    change("UPDATE runs_taskrun SET ttl_ends_at = NULL, first_queued_at = now() - interval '2 min'")
    assert compared() == 1
    assert expire_waiting_runs() == 1
    assert states_of(run_id) == ("FINISHED", "EXPIRED")


def test_runs_are_compared_a_piece_at_a_time(world: World) -> None:
    """A tick goes on where the last one stopped, and begins anew at the end."""
    runs = sorted(world.trigger() for _ in range(5))
    change("DELETE FROM runs_readyentry")
    assert [int(compare_books(chunk=2, chunks=1)) for _ in range(4)] == [2, 2, 1, 0]
    assert [world.lease_one().run.friendlyId for _ in runs] == runs
    check_books()


class TestRecords:
    """What staff and Prometheus are told of each reconciler."""

    def test_each_run_is_recorded(self, world: World) -> None:
        """By the job, with what it found; a later run replaces an earlier one."""
        world.trigger()
        change("DELETE FROM runs_readyentry")
        assert reconcile("compare_books") == 1
        (state,) = list_reconcilers(["compare_books"])
        assert (state.found, state.fixed, state.error) == (1, 1, None)
        assert state.age_s == pytest.approx(0, abs=30)
        reconcile("compare_books")
        (state,) = list_reconcilers(["compare_books"])
        assert (state.found, state.fixed) == (0, 0)

    def test_a_failure_is_recorded_and_raised(self, world: World) -> None:
        """Its text is kept, bounded, until the next run comes to its end."""
        name = "release_due_runs"
        record_failure(name, ValueError("no\x00" + "x" * 1000))
        (state,) = list_reconcilers([name])
        assert state.error is not None
        assert state.error.startswith("ValueError: no")
        assert len(state.error) == 500
        record_run(name, 0)
        assert list_reconcilers([name])[0].error is None

    def test_staff_read_all_of_them(self, world: World) -> None:
        """Those that never ran too, without a time; nobody else may."""
        reconcile("repair_stalled_runs")
        record_failure("release_due_runs", ValueError("no"))
        staff = ApiClient(make_person(is_staff=True).token)
        rows = {row["name"]: row for row in json_of(staff.get(RECONCILERS))["data"]}
        assert sorted(rows) == sorted(ALL_RECONCILERS)
        stalled = rows["repair_stalled_runs"]
        at = datetime.fromisoformat(stalled.pop("lastRunAt"))
        assert datetime.now(UTC) - at < timedelta(seconds=30)
        assert stalled == {"name": "repair_stalled_runs", "found": 0, "fixed": 0}
        assert rows["release_due_runs"]["error"] == "ValueError: no"
        assert rows["forget_old_keys"] == {"name": "forget_old_keys", "found": 0, "fixed": 0}
        json_of(ApiClient().get(RECONCILERS), 401)
        json_of(ApiClient(make_person().token).get(RECONCILERS), 403)

    def test_prometheus_is_told(self, world: World) -> None:
        """Age, findings and failures of each; an age that is not known is no number."""
        record_run("compare_books", 3)
        record_failure("release_due_runs", ValueError("no"))
        read: Callable[..., bytes] = generate_latest
        lines = read(_One()).decode().splitlines()
        assert 'crossfade_reconciler_found{name="compare_books"} 3.0' in lines
        assert 'crossfade_reconciler_failed{name="release_due_runs"} 1.0' in lines
        assert 'crossfade_reconciler_failed{name="compare_books"} 0.0' in lines
        assert 'crossfade_reconciler_age_seconds{name="forget_old_keys"} NaN' in lines
        (age,) = [line for line in lines if "age_seconds" in line and "compare_books" in line]
        assert 0 <= float(age.split()[1]) < 30

    def test_health_counts_differences(self, world: World) -> None:
        """0 as long as the books are right."""
        for registry in (GLOBAL_FLAGS, REGIONS, LIVENESS):
            registry.reload()
        for found in (0, 3, 0):
            record_run("compare_books", found)
            assert json_of(ApiClient().get("/readyz")) == {"ok": True, "differences": found}


class _One:
    """A registry of the one collector."""

    def collect(self) -> Any:
        """Give what it gives."""
        return ReconcilerCollector().collect()
