"""Moves that were refused: kept with the reason, never the latest, and never without end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from runs.contracts import DispatchFailed
from runs.errors import RunNotFound
from runs.models import RunSnapshot
from runs.reconcilers import repair_stalled_runs
from runs.services.attempts import continue_run
from runs.services.leases import fail_dispatch
from runs.services.refusals import MAX_REFUSED
from tenants.errors import Conflict
from tests.api_client import json_of
from tests.running import (
    Supervisor,
    World,
    change,
    check_books,
    executing,
    failed,
    leased,
    make_world,
    race,
    rows_of,
    run_of,
    stall,
    states_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


class Call(NamedTuple):
    """Something a runner or a supervisor asks for at a snapshot."""

    world: World
    run_id: str
    snapshot: str
    runner: str

    def start(self) -> object:
        """Ask to start an attempt."""
        return self.world.start(self.run_id, self.snapshot, runner=self.runner)

    def go_on(self) -> object:
        """Ask to continue."""
        return continue_run(**self._given)

    def succeed(self) -> object:
        """Say that the attempt succeeded."""
        return self.world.complete(self.run_id, self.snapshot, runner=self.runner)

    def fail(self) -> object:
        """Say that the attempt failed."""
        ended = failed(self.run_id)
        return self.world.complete(self.run_id, self.snapshot, ended, runner=self.runner)

    def give_back(self) -> None:
        """Say that no workload could be started."""
        failure = DispatchFailed(reason="no_capacity", message="full")
        fail_dispatch(failure=failure, **self._given)

    @property
    def _given(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "snapshot_id": self.snapshot,
            "scope": self.world.scope,
            "mover": self.world.mover(self.runner),
        }


CALLS: dict[str, Callable[[Call], object]] = {
    "start": Call.start,
    "continue": Call.go_on,
    "succeed": Call.succeed,
    "fail": Call.fail,
    "requeue": Call.give_back,
}


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def refused(act: Callable[[], object]) -> str:
    """Act, which has to be refused, and give the reason."""
    with pytest.raises(Conflict) as raised:
        act()
    return str(raised.value)


def kept(run_id: str) -> list[RunSnapshot]:
    """Give what was kept of refused moves."""
    return list(RunSnapshot.objects.filter(run_id=run_id, is_valid=False).order_by("created_at"))


def everything_else(run_id: str) -> list[Any]:
    """Give all that a move writes, but for the refused ones."""
    return [
        rows_of("SELECT t::text FROM runs_taskrun t ORDER BY id"),
        rows_of("SELECT t::text FROM runs_runsnapshot t WHERE is_valid ORDER BY id"),
        rows_of("SELECT t::text FROM runs_lease t ORDER BY run_id"),
        rows_of("SELECT t::text FROM runs_readyentry t ORDER BY run_id"),
        rows_of("SELECT t::text FROM runs_queueslots t"),
    ]


@pytest.mark.parametrize("event", CALLS)
def test_a_stale_move_is_kept_and_changes_nothing(world: World, event: str) -> None:
    """Who asked for what, at which snapshot, in which state of the run, and why it was refused."""
    run_id, old = leased(world)
    world.start(run_id, old, runner="first")
    before, run = everything_else(run_id), run_of(run_id)
    reason = refused(lambda: CALLS[event](Call(world, run_id, old, "late")))
    assert everything_else(run_id) == before
    (one,) = kept(run_id)
    assert (one.event, one.previous_id, one.runner_id, one.error) == (event, old, "late", reason)
    assert (one.execution_status, one.run_status) == (run.execution_status, run.status)
    assert (one.attempt_number, one.worker_group_id) == (1, world.group_id)
    assert one.id > run.snapshot_id
    check_books()


@pytest.mark.parametrize("event", ["start", "continue", "requeue"])
def test_an_illegal_move_at_the_latest_snapshot_is_kept_too(world: World, event: str) -> None:
    """The table has no such move from where the run stands."""
    run_id, latest = executing(world)
    before = everything_else(run_id)
    reason = refused(lambda: CALLS[event](Call(world, run_id, latest, "runner-1")))
    assert everything_else(run_id) == before
    assert [(one.event, one.previous_id, one.error) for one in kept(run_id)] == [
        (event, latest, reason)
    ]
    check_books()


def test_a_refused_move_never_is_the_latest(world: World) -> None:
    """Runners see neither it nor a gap: the next move follows the latest valid snapshot."""
    run_id, old = leased(world)
    latest = world.start(run_id, old, runner="first")
    refused(lambda: world.start(run_id, old, runner="late"))
    supervisor = Supervisor(world)
    shown = json_of(supervisor.read(f"runs/{run_id}/snapshots/latest"))["execution"]["snapshot"]
    assert shown["friendlyId"] == latest
    since = json_of(supervisor.read(f"runs/{run_id}/snapshots/since/{old}"))["snapshots"]
    assert [one["snapshot"]["friendlyId"] for one in since] == [latest]
    world.complete(run_id, latest, runner="first")
    ended = RunSnapshot.objects.get(run_id=run_id, id=run_of(run_id).snapshot_id)
    assert (ended.previous_id, ended.is_valid) == (latest, True)
    check_books()


def test_a_caller_that_repeats_itself_leaves_one(world: World) -> None:
    """However long a stale runner goes on, another runner's and another move leave their own."""
    run_id, old = leased(world)
    world.start(run_id, old, runner="first")
    late = Call(world, run_id, old, "late")
    for _ in range(30):
        refused(late.start)
    refused(late.succeed)
    refused(late._replace(runner="later").start)
    refused(late._replace(snapshot="snapshot_unknown").start)
    assert [(one.event, one.runner_id) for one in kept(run_id)] == [
        ("start", "late"), ("succeed", "late"), ("start", "later"), ("start", "late"),
    ]  # fmt: skip


def test_a_run_keeps_a_bounded_number(world: World) -> None:
    """Whatever names a caller gives itself; other runs have room of their own."""
    run_id, old = leased(world)
    other, other_old = leased(world)
    for one, snapshot in ((run_id, old), (other, other_old)):
        world.start(one, snapshot, runner="first")
    for number in range(MAX_REFUSED + 20):
        refused(Call(world, run_id, old, f"late-{number}").start)
    refused(Call(world, other, other_old, "late").start)
    assert (len(kept(run_id)), len(kept(other))) == (MAX_REFUSED, 1)


@pytest.mark.django_db(transaction=True)
def test_both_bounds_hold_at_the_same_moment(redis_url: str) -> None:
    """Eight callers at once: once for each of two names, and never more than a run keeps."""
    world = make_world()
    run_id, old = leased(world)
    world.start(run_id, old, runner="first")
    race(8, lambda number: refused(Call(world, run_id, old, f"late-{number % 2}").start))
    assert len(kept(run_id)) == 2

    def _fill(number: int) -> None:
        for step in range(MAX_REFUSED // 4):
            refused(Call(world, run_id, old, f"late-{number}-{step}").start)

    race(8, _fill)
    assert len(kept(run_id)) == MAX_REFUSED
    check_books()


def test_a_repeat_that_is_answered_leaves_nothing(world: World) -> None:
    """An answer lost on the wire is no refused move; a stale heartbeat is answered like a good one."""
    run_id, old = leased(world)
    started = world.start(run_id, old)
    assert world.start(run_id, old) == started
    json_of(Supervisor(world).act(f"runs/{run_id}/snapshots/{old}/heartbeat"))
    assert world.complete(run_id, started) == world.complete(run_id, started)
    assert kept(run_id) == []


def test_who_may_not_touch_a_run_leaves_nothing_on_it(world: World) -> None:
    """Another worker group's runner is told that there is no such run."""
    run_id, old = leased(world)
    stranger = make_world()
    for act in CALLS.values():
        with pytest.raises(RunNotFound):
            act(Call(stranger, run_id, old, "late"))
    assert kept(run_id) == []


def test_a_snapshot_of_any_text_is_refused_alike(world: World) -> None:
    """What a caller names need not be an id; it is kept cut."""
    run_id, old = leased(world)
    world.start(run_id, old, runner="first")
    for named in ("x" * 3000, "ü", "%25"):
        path = f"runs/{run_id}/snapshots/{named}/dispatch-failed"
        body = {"reason": "no_capacity", "message": "full"}
        json_of(Supervisor(world).act(path, body), 409)
    assert [len(one.previous_id or "") for one in kept(run_id)] == [40, 1, 1]
    assert max(len(one.error or "") for one in kept(run_id)) == 500


def test_a_reconciler_that_can_never_succeed_leaves_one(world: World) -> None:
    """It comes back each second to a lease in no state to repair."""
    run_id, _ = leased(world)
    change("UPDATE runs_taskrun SET execution_status = 'QUEUED_EXECUTING' WHERE id = %s", run_id)
    stall(run_id)
    assert [repair_stalled_runs() for _ in range(3)] == [0, 0, 0]
    (one,) = kept(run_id)
    assert (one.event, one.runner_id) == ("requeue", None)
    assert "QUEUED_EXECUTING" in (one.error or "")
    assert states_of(run_id)[0] == "QUEUED_EXECUTING"
