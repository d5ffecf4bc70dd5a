"""Leases as supervisors hold them: whose runs they may touch, what they read, starts that fail."""

from __future__ import annotations

from typing import Any

import pytest

from runs.contracts import DispatchFailed
from runs.errors import RunNotFound, StaleSnapshot
from runs.reconcilers import release_due_runs
from runs.retry import MAX_DELIVERIES
from runs.services.cancellation import cancel_run
from runs.services.leases import fail_dispatch
from runs.states import IllegalMove
from tests.api_client import ApiClient, json_of
from tests.running import (
    Supervisor,
    World,
    check_books,
    executing,
    failed,
    leased,
    make_due,
    make_world,
    read_books,
    run_of,
    states_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task that may be tried three times."""
    return make_world()


class TestScope:
    """Whose runs a supervisor may touch."""

    def test_another_groups_run_is_unknown(self, world: World) -> None:
        """Every call with another group's token is 404, and leaves the run alone."""
        run_id, snapshot = executing(world)
        stranger = Supervisor(make_world())
        at = f"runs/{run_id}/snapshots/{snapshot}"
        body = {"completion": {"ok": True, "id": run_id}}
        failure = {"reason": "no_image", "message": "x"}
        for path, sent in (
            (f"{at}/attempts/start", {}),
            (f"{at}/attempts/complete", body),
            (f"{at}/dispatch-failed", failure),
            (f"runs/{run_id}/logs", {"attempt": 1, "lines": []}),
            (f"runs/{run_id}/logs/debug", {}),
        ):
            assert "error" in json_of(stranger.act(path, sent), 404)
        for path in (
            f"{at}/continue",
            f"runs/{run_id}/snapshots/latest",
            f"runs/{run_id}/snapshots/since/{snapshot}",
        ):
            assert "error" in json_of(stranger.read(path), 404)
        assert run_of(run_id).snapshot_id == snapshot

    def test_a_group_that_never_had_the_run_is_a_stranger(self, world: World) -> None:
        """A waiting run is nobody's yet."""
        run_id = world.trigger()
        with pytest.raises(RunNotFound):
            world.start(run_id, run_of(run_id).snapshot_id)

    def test_developers_act_in_their_own_environment(self) -> None:
        """A development key takes its runs over its own paths; other keys are 403."""
        world = make_world(slug="dev")
        run_id = world.trigger()
        developer = ApiClient(
            world.tenant.keys["dev"], **{"x-trigger-worker-runner-id": "runner-1"}
        )
        (message,) = json_of(developer.post("/engine/v1/dev/dequeue", {}))
        assert message["run"]["friendlyId"] == run_id
        at = f"/engine/v1/dev/runs/{run_id}/snapshots"
        json_of(developer.post(f"{at}/{message['snapshot']['friendlyId']}/attempts/start", {}))
        json_of(ApiClient(world.tenant.keys["prod"]).post("/engine/v1/dev/dequeue", {}), 403)
        other = make_world(slug="dev")
        json_of(ApiClient(other.tenant.keys["dev"]).get(f"{at}/latest"), 404)
        latest = json_of(developer.get(f"{at}/latest"))["execution"]
        assert latest["snapshot"]["executionStatus"] == "EXECUTING"

    def test_a_supervisor_needs_secret_token_and_name(self, world: World) -> None:
        """Each of the three alone missing or wrong is 401, in one wording."""
        whole = {
            "authorization": f"Bearer {world.token}",
            "x-trigger-worker-managed-secret": "wrong",
            "x-trigger-worker-instance-name": "s",
        }
        said = set()
        for headers in (whole, {}, {"authorization": f"Bearer {world.tenant.keys['prod']}"}):
            answer = ApiClient().send(
                "POST", "/engine/v1/worker-actions/dequeue", {}, headers=headers
            )
            said.add(json_of(answer, 401)["error"])
        assert len(said) == 1


class TestSnapshots:
    """What a runner reads."""

    def test_the_newer_ones_are_given_in_order(self, world: World) -> None:
        """After any snapshot of the run come the later ones, oldest first; after the last, none."""
        run_id, snapshot = leased(world)
        started = world.start(run_id, snapshot)
        cancel_run(environment_id=world.environment_id, run_id=run_id)
        read = Supervisor(world).read
        newer = json_of(read(f"runs/{run_id}/snapshots/since/{snapshot}"))["snapshots"]
        assert [one["snapshot"]["executionStatus"] for one in newer] == [
            "EXECUTING",
            "PENDING_CANCEL",
        ]
        assert newer[0]["snapshot"]["friendlyId"] == started
        last = newer[-1]["snapshot"]["friendlyId"]
        assert json_of(read(f"runs/{run_id}/snapshots/since/{last}")) == {"snapshots": []}
        latest = json_of(read(f"runs/{run_id}/snapshots/latest"))["execution"]["snapshot"]
        assert latest["friendlyId"] == last
        json_of(read(f"runs/{run_id}/snapshots/since/snapshot_other"), 404)

    def test_a_lease_says_what_it_is(self, world: World) -> None:
        """The lease's snapshot and message name run, machine, tenant, version and dispatch."""
        run_id = world.trigger(is_test=True)
        (message,) = json_of(Supervisor(world).act("dequeue"))
        assert message["run"]["friendlyId"] == run_id
        assert message["run"]["attemptNumber"] == message["dispatch"] == 1
        assert message["run"]["isTest"] is True
        assert message["snapshot"]["executionStatus"] == "PENDING_EXECUTING"
        assert message["environment"] == {"id": world.environment_id, "type": "PRODUCTION"}
        assert message["placementTags"] == [{"key": "paid", "values": ["false"]}]


class TestDispatch:
    """No workload could be started."""

    def fail(self, world: World, run_id: str, snapshot: str, **given: Any) -> None:
        """Report a failed start."""
        failure = DispatchFailed.model_validate(
            {"reason": "create_failed", "message": "no room", **given}
        )
        fail_dispatch(
            run_id=run_id,
            snapshot_id=snapshot,
            failure=failure,
            scope=world.scope,
            mover=world.mover(),
        )

    def test_what_no_repeat_can_help_ends(self, world: World) -> None:
        """A permanent failure is a failure of the system, with its message, NUL and all."""
        run_id, snapshot = leased(world)
        self.fail(world, run_id, snapshot, permanent=True, reason="no_image", message="no\x00image")
        assert states_of(run_id) == ("FINISHED", "SYSTEM_FAILURE")
        assert (run_of(run_id).error or {})["message"] == "no\ufffdimage"
        check_books()

    def test_others_are_handed_out_again_later(self, world: World) -> None:
        """After 1 s, 2 s, ... counted; a lack of room is not counted."""
        run_id, snapshot = leased(world)
        for reason, deliveries in (("create_failed", 1), ("no_capacity", 1), ("restore_failed", 2)):
            self.fail(world, run_id, snapshot, reason=reason)
            assert (run_of(run_id).deliveries, read_books().places[run_id]) == (
                deliveries,
                ["delayed"],
            )
            check_books()
            make_due(run_id)
            release_due_runs()
            message = world.lease_one()
            snapshot = message.snapshot.friendlyId
        assert message.dispatch == 4

    def test_the_twelfth_loss_ends_the_run(self, world: World) -> None:
        """Eleven are redelivered; then the platform says that it never started."""
        run_id, snapshot = leased(world)
        for _ in range(MAX_DELIVERIES - 1):
            self.fail(world, run_id, snapshot)
            make_due(run_id)
            release_due_runs()
            snapshot = world.lease_one().snapshot.friendlyId
        self.fail(world, run_id, snapshot)
        assert states_of(run_id) == ("FINISHED", "SYSTEM_FAILURE")
        assert (run_of(run_id).error or {})["code"] == "TASK_RUN_DEQUEUED_MAX_RETRIES"
        check_books()

    def test_a_started_attempt_counts_from_nothing_again(self, world: World) -> None:
        """A retry through the queue is a fresh delivery."""
        run_id, snapshot = leased(world)
        self.fail(world, run_id, snapshot)
        make_due(run_id)
        release_due_runs()
        snapshot = world.start(run_id, world.lease_one().snapshot.friendlyId)
        world.complete(run_id, snapshot, failed(run_id), force_queue=True)
        assert run_of(run_id).deliveries == 0

    def test_only_the_lease_itself_is_taken_back(self, world: World) -> None:
        """A stale snapshot, or an attempt that has started, is refused."""
        run_id, snapshot = leased(world)
        started = world.start(run_id, snapshot)
        with pytest.raises(StaleSnapshot):
            self.fail(world, run_id, snapshot)
        with pytest.raises(IllegalMove):
            self.fail(world, run_id, started)
        path = f"runs/{run_id}/snapshots/{snapshot}/dispatch-failed"
        refused = Supervisor(world).act(path, {"reason": "no_image", "message": "x"})
        assert (json_of(refused, 409).keys(), refused["x-should-retry"]) == ({"error"}, "false")
        assert states_of(run_id) == ("EXECUTING", "EXECUTING")
