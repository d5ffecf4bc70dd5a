"""Messages that come twice, late, or in another order, and supervisors that are not alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from runs.reconcilers import release_due_runs, repair_stalled_runs
from runs.services.leases import Holder, lease_runs
from tests.running import (
    Supervisor,
    World,
    check_books,
    leased,
    make_due,
    make_world,
    race,
    rows_of,
    run_of,
    stall,
    states_of,
)
from tests.sizes import sized

if TYPE_CHECKING:
    from django.http import HttpResponse

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

SHUFFLES = sized(30, full=500)
REFUSED = {409, 404}


class Runner:
    """A runner whose messages arrive when and as often as they like."""

    def __init__(self, world: World, run_id: str, lease: str, name: str) -> None:
        self._supervisor = Supervisor(world, runner=name)
        self._run_id = run_id
        self._snapshot = lease  # the newest it was told of
        self.answers: list[HttpResponse] = []

    def say(self, message: str) -> None:
        """Send one message about the newest snapshot this runner knows."""
        answer = self._supervisor.act(self._path(message), self._body(message))
        self.answers.append(answer)
        if message == "start" and answer.status_code == 200:
            self._snapshot = answer.json()["snapshot"]["friendlyId"]

    def _path(self, message: str) -> str:
        at = f"runs/{self._run_id}/snapshots/{self._snapshot}"
        return {
            "start": f"{at}/attempts/start",
            "heartbeat": f"{at}/heartbeat",
            "complete": f"{at}/attempts/complete",
            "logs": f"runs/{self._run_id}/logs",
            "dispatch-failed": f"{at}/dispatch-failed",
        }[message]

    def _body(self, message: str) -> dict[str, Any]:
        line = {"seq": 1, "at": 1.0, "stream": "stdout", "text": "hello"}
        bodies: dict[str, dict[str, Any]] = {
            "complete": {"completion": {"ok": True, "id": self._run_id, "output": '"done"'}},
            "logs": {"attempt": 1, "lines": [line]},
            "dispatch-failed": {"reason": "create_failed", "message": "no"},
        }
        return bodies.get(message, {})


@pytest.mark.fault(
    kills="nothing: messages are duplicated, delayed and reordered",
    step="leased to ended, by two runners of one lease",
    expects="one attempt, one end, refusals with 409, exact books",
)
def test_messages_in_any_order_make_one_attempt() -> None:
    """Two runners say everything twice, shuffled: one attempt begins, and the run ends once."""
    world = make_world()
    chance = random.Random(11)
    for _ in range(SHUFFLES):
        run_id, lease = leased(world)
        runners = [Runner(world, run_id, lease, name) for name in ("runner-1", "runner-2")]
        said = [
            (who, what) for who in runners for what in ("start", "heartbeat", "complete", "logs")
        ]
        said *= 2
        chance.shuffle(said)
        for runner, message in said:
            runner.say(message)
        for message in ("start", "complete"):
            for runner in runners:
                runner.say(message)
        statuses = {one.status_code for runner in runners for one in runner.answers}
        assert statuses <= {200, *REFUSED}
        assert states_of(run_id) == ("FINISHED", "COMPLETED_SUCCESSFULLY")
        assert run_of(run_id).attempt_number == 1
        assert rows_of("SELECT count(*) FROM runs_runlog WHERE run_id = %s", run_id) == [(1,)]
        check_books()


@pytest.mark.fault(
    kills="runner: it completes twice",
    step="completing",
    expects="the second completion is answered like the first and changes nothing",
)
def test_a_runner_that_completes_twice_ends_its_run_once() -> None:
    """Both are answered alike, and another runner's completion is refused for good."""
    world = make_world()
    run_id, lease = leased(world)
    runner, other = (Runner(world, run_id, lease, name) for name in ("runner-1", "runner-2"))
    for message in ("start", "complete", "complete"):
        runner.say(message)
    first, second = runner.answers[1:]
    assert (first.status_code, first.content) == (200, second.content)
    other.say("complete")
    assert other.answers[0].status_code == 409
    assert other.answers[0]["x-should-retry"] == "false"
    check_books()


@pytest.mark.fault(
    kills="supervisor: it leases and dies",
    step="leased",
    expects="the lease runs out, the run is handed out again, the dead one's runner comes too late",
)
def test_a_supervisor_that_leases_and_dies_costs_time_only() -> None:
    """Its run is given to the next, its own late start is 409, and no attempt was counted."""
    world = make_world()
    run_id, lease = leased(world)
    late = Runner(world, run_id, lease, "runner-of-the-dead")
    stall(run_id)
    repair_stalled_runs()
    make_due(run_id)
    release_due_runs()
    message = world.lease_one()
    assert (message.run.friendlyId, message.run.attemptNumber) == (run_id, 1)
    for said in ("start", "dispatch-failed", "complete", "heartbeat"):
        late.say(said)
    assert [answer.status_code for answer in late.answers] == [409, 409, 409, 200]
    assert states_of(run_id) == ("PENDING_EXECUTING", "DEQUEUED")
    world.complete(run_id, world.start(run_id, message.snapshot.friendlyId))
    assert run_of(run_id).attempt_number == 1
    check_books()


@pytest.mark.fault(
    kills="nothing: two supervisors with one token and one name",
    step="queued to leased",
    expects="each run is given to exactly one of them",
)
def test_two_supervisors_with_one_token_share_no_run() -> None:
    """Eight of the same name lease at one moment, over and over: no run is given twice."""
    world = make_world()
    total = sized(60, full=1_000)
    runs = {world.trigger() for _ in range(total)}

    def lease_all(number: int) -> list[str]:
        taken: list[str] = []
        idle = 0
        while idle < 3:
            holder = Holder(
                world.queue, world.group_id, "the same name", f"key-{number}-{len(taken)}"
            )
            got = [message.run.friendlyId for message in lease_runs(holder, count=1, room=None)]
            idle = 0 if got else idle + 1
            taken += got
            for run_id in got:
                complete(world, run_id)
        return taken

    taken = [run_id for part in race(8, lease_all) for run_id in part]
    assert sorted(taken) == sorted(runs)
    check_books()


def complete(world: World, run_id: str) -> None:
    """Execute a leased run, so that its slot is free."""
    snapshot = world.start(run_id, run_of(run_id).snapshot_id)
    world.complete(run_id, snapshot)
