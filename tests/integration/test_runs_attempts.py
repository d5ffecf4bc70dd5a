"""Attempts: started, kept alive, ended, each answer given again to who lost it and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from runs.contracts import AttemptFailed, AttemptSucceeded
from runs.errors import RunNotFound, StaleSnapshot, TooLarge
from runs.reconcilers import release_due_runs
from runs.services.attempts import complete_attempt, heartbeat_run, start_attempt
from runs.services.cancellation import cancel_run
from runs.services.leases import Room
from runs.states import IllegalMove
from tests.api_client import json_of
from tests.running import (
    Supervisor,
    World,
    check_books,
    executing,
    failed,
    internal,
    leased,
    make_due,
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


def due_in_s(run_id: str) -> float:
    """Give how long a lease still lasts."""
    ((left,),) = rows_of(
        "SELECT extract(epoch FROM due_at - now())::float8 FROM runs_lease WHERE run_id = %s",
        run_id,
    )
    return float(left)


class TestStart:
    """A runner begins."""

    def test_an_attempt_is_numbered_and_started_once(self, world: World) -> None:
        """The number goes up, the first start stays the run's, the lease is an executing one's."""
        run_id, snapshot = leased(world)
        assert 0 < due_in_s(run_id) < 100
        started = world.start(run_id, snapshot)
        run = run_of(run_id)
        assert (run.attempt_number, run.snapshot_id) == (1, started)
        assert started > snapshot
        assert states_of(run_id) == ("EXECUTING", "EXECUTING")
        assert 200 < due_in_s(run_id) < 310

    def test_the_same_runner_gets_the_same_answer_again(self, world: World) -> None:
        """A repeat changes nothing: the answer was lost, not the attempt."""
        run_id, snapshot = leased(world)
        first = Supervisor(world).act(f"runs/{run_id}/snapshots/{snapshot}/attempts/start")
        again = Supervisor(world).act(f"runs/{run_id}/snapshots/{snapshot}/attempts/start")
        one, other = json_of(first), json_of(again)
        for answer in (one, other):
            answer["execution"]["attempt"].pop("startedAt")
        assert one == other
        assert one["execution"]["attempt"]["number"] == 1
        assert run_of(run_id).attempt_number == 1

    def test_another_runner_is_told_not_to_try_again(self, world: World) -> None:
        """A second workload of the same lease gets 409, and clients repeat a bare 409."""
        run_id, snapshot = leased(world)
        path = f"runs/{run_id}/snapshots/{snapshot}/attempts/start"
        json_of(Supervisor(world, runner="one").act(path))
        refused = Supervisor(world, runner="two").act(path)
        assert "error" in json_of(refused, 409)
        assert refused["x-should-retry"] == "false"

    def test_without_a_name_nobody_is_the_same_runner(self, world: World) -> None:
        """Two callers without runner id and request key are two callers."""
        run_id, snapshot = leased(world)
        nobody = world.mover(runner=None)
        given: dict[str, Any] = {"run_id": run_id, "snapshot_id": snapshot, "scope": world.scope}
        start_attempt(**given, mover=nobody)
        with pytest.raises(StaleSnapshot):
            start_attempt(**given, mover=nobody)

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.fault(
        kills="nothing: many runners of one lease at one moment",
        step="leased to executing",
        expects="one of them starts",
    )
    def test_of_many_runners_one_starts(self, redis_url: str) -> None:
        """Eight workloads start one lease at the same moment: one attempt, seven refusals."""
        world = make_world()
        run_id, snapshot = leased(world)

        def _start(number: int) -> bool:
            try:
                world.start(run_id, snapshot, runner=f"runner-{number}")
            except StaleSnapshot:
                return False
            return True

        assert race(8, _start).count(True) == 1
        assert run_of(run_id).attempt_number == 1

    @pytest.mark.django_db(transaction=True)
    def test_repeats_at_the_same_moment_are_one_start(self, redis_url: str) -> None:
        """One runner whose client repeats too early gets one and the same answer."""
        world = make_world()
        run_id, snapshot = leased(world)
        assert len(set(race(8, lambda _: world.start(run_id, snapshot)))) == 1
        assert run_of(run_id).attempt_number == 1

    def test_what_does_not_wait_for_an_attempt_cannot_start(self, world: World) -> None:
        """Starting an executing or a finished run is refused, whatever the snapshot."""
        run_id, snapshot = executing(world)
        with pytest.raises(IllegalMove):
            world.start(run_id, snapshot, runner="other")
        world.complete(run_id, snapshot)
        with pytest.raises(IllegalMove):
            world.start(run_id, run_of(run_id).snapshot_id, runner="other")

    def test_the_execution_has_everything_a_runner_needs(self) -> None:
        """Run, task, tenant and version are named; the region is geography; nothing is null."""
        world = make_world(task("hello", max_duration_s=60, max_attempts=7))
        world.trigger(payload='{"a":1}', tags=("b", "a"), metadata='{"k":1}', priority_ms=1500)
        message = world.lease_one()
        run_id = message.run.friendlyId
        path = f"runs/{run_id}/snapshots/{message.snapshot.friendlyId}/attempts/start"
        answer = json_of(Supervisor(world).act(path))
        run = answer["execution"]["run"]
        assert (run["payload"], run["tags"], run["metadata"]) == ('{"a":1}', ["a", "b"], {"k": 1})
        assert (run["maxAttempts"], run["maxDuration"], run["region"]) == (7, 60, "us-east-1")
        assert answer["execution"]["environment"]["id"] == world.environment_id
        assert answer["envVars"]["TRIGGER_SECRET_KEY"] == world.tenant.keys["prod"]
        assert answer["execution"]["task"]["filePath"] == "tasks.py"
        assert None not in run.values()


class TestHeartbeat:
    """A runner is alive."""

    def test_a_heartbeat_extends_the_lease(self, world: World) -> None:
        """The run counts as alive from then on for the whole time again."""
        run_id, snapshot = executing(world)
        stall(run_id)
        assert heartbeat_run(run_id=run_id, snapshot_id=snapshot, scope=world.scope)
        assert due_in_s(run_id) > 200

    def test_a_stale_or_foreign_heartbeat_extends_nothing(self, world: World) -> None:
        """An older snapshot, another group and a run that is not executing leave the lease alone."""
        waiting, lease_snapshot = leased(world)
        run_id, snapshot = executing(world)
        stranger = make_world()
        for run, at in ((run_id, snapshot), (waiting, lease_snapshot)):
            stall(run)
            for scope in (stranger.scope,) if run == run_id else (world.scope, stranger.scope):
                assert not heartbeat_run(run_id=run, snapshot_id=at, scope=scope)
        assert not heartbeat_run(run_id=run_id, snapshot_id=lease_snapshot, scope=world.scope)
        assert max(due_in_s(run_id), due_in_s(waiting)) < 0

    def test_both_are_answered_alike(self, world: World) -> None:
        """A runner learns what became of its run from the snapshots."""
        run_id, snapshot = executing(world)
        for at in (snapshot, "snapshot_old"):
            answer = Supervisor(world).act(f"runs/{run_id}/snapshots/{at}/heartbeat", {"cpu": 0.5})
            assert json_of(answer) == {"ok": True}


class TestComplete:
    """A runner ends."""

    def test_success_ends_the_run(self, world: World) -> None:
        """Output, usage and metadata are kept, the slot is free, the books are right."""
        run_id, snapshot = executing(world)
        completion = AttemptSucceeded.model_validate(
            {
                "ok": True,
                "id": run_id,
                "output": '{"sum":3}',
                "usage": {"durationMs": 12.7},
                "flushedMetadata": {"data": '{"progress":1}'},
            }
        )
        assert world.complete(run_id, snapshot, completion).attempt_status == "RUN_FINISHED"
        run = run_of(run_id)
        assert states_of(run_id) == ("FINISHED", "COMPLETED_SUCCESSFULLY")
        assert (run.output, run.usage_ms, run.metadata) == ('{"sum":3}', 12, '{"progress":1}')
        assert run.completed_at is not None
        check_books()

    @pytest.mark.parametrize("end", ["success", "failure", "in place", "queued", "canceled"])
    def test_completing_twice_is_completing_once(self, world: World, end: str) -> None:
        """The same runner gets the same answer again, another one 409, and nothing changes."""
        run_id, snapshot = executing(world)
        ends: dict[str, AttemptSucceeded | AttemptFailed | None] = {
            "success": None,
            "failure": failed(run_id, delay_ms=None),
            "in place": failed(run_id, delay_ms=10),
            "queued": failed(run_id, delay_ms=60_000),
            "canceled": internal(run_id, "TASK_RUN_CANCELLED"),
        }
        first = world.complete(run_id, snapshot, ends[end])
        before = run_of(run_id).snapshot_id
        assert world.complete(run_id, snapshot, ends[end]) == first
        with pytest.raises(StaleSnapshot):
            world.complete(run_id, snapshot, ends[end], runner="another")
        assert run_of(run_id).snapshot_id == before
        check_books()

    @pytest.mark.fault(
        kills="a completion arrives late",
        step="somebody else has the run",
        expects="it is told what became of its attempt",
    )
    def test_a_late_repeat_learns_what_became_of_its_attempt(self, world: World) -> None:
        """Also when somebody else has taken the run since: that is not the repeater's business."""
        run_id, snapshot = executing(world)
        ended = failed(run_id, delay_ms=0)
        world.complete(run_id, snapshot, ended, force_queue=True)
        assert world.lease_one().run.friendlyId == run_id
        again = world.complete(run_id, snapshot, ended, force_queue=True)
        assert again.attempt_status == "RETRY_QUEUED"
        assert states_of(run_id) == ("PENDING_EXECUTING", "DEQUEUED")

    def test_over_http_a_stale_end_is_not_repeated(self, world: World) -> None:
        """409 with the word not to try again, and one error body."""
        run_id, snapshot = executing(world)
        body = {"completion": {"ok": True, "id": run_id, "output": "1"}}
        path = f"runs/{run_id}/snapshots/{snapshot}/attempts/complete"
        answer = json_of(Supervisor(world).act(path, body))["result"]
        assert answer["attemptStatus"] == "RUN_FINISHED"
        assert answer["run"]["status"] == "COMPLETED_SUCCESSFULLY"
        assert answer["snapshot"]["executionStatus"] == "FINISHED"
        refused = Supervisor(world, runner="other").act(path, body)
        assert (set(json_of(refused, 409)), refused["x-should-retry"]) == ({"error"}, "false")

    def test_a_failure_is_retried_in_place(self, world: World) -> None:
        """The same lease goes on, the run says that it retries, the next attempt has its number."""
        run_id, snapshot = executing(world)
        assert world.complete(run_id, snapshot, failed(run_id, delay_ms=10)).attempt_status == (
            "RETRY_IMMEDIATELY"
        )
        assert states_of(run_id) == ("EXECUTING", "RETRYING_AFTER_FAILURE")
        world.start(run_id, run_of(run_id).snapshot_id)
        assert (run_of(run_id).attempt_number, states_of(run_id)[1]) == (2, "EXECUTING")
        check_books()

    def test_memory_that_ran_out_is_tried_again_on_the_larger_machine(self) -> None:
        """Once, through the queue and at once; only a room of that size is given the run."""
        world = make_world(
            task(machine="micro", retry={"outOfMemory": {"machine": "medium-1x"}}, max_attempts=9)
        )
        run_id, snapshot = executing(world)
        died = internal(run_id, "TASK_PROCESS_OOM_KILLED", skippedRetrying=True)
        assert world.complete(run_id, snapshot, died).attempt_status == "RETRY_QUEUED"
        assert (states_of(run_id), run_of(run_id).error) == (("QUEUED", "PENDING"), None)
        assert world.lease(room=Room(cpu=1, memory=1)) == []
        message = world.lease_one()
        assert (message.run.attemptNumber, message.run.machine.name) == (2, "medium-1x")
        snapshot = world.start(run_id, message.snapshot.friendlyId)
        assert world.complete(run_id, snapshot, died).attempt_status == "RUN_FINISHED"
        assert states_of(run_id) == ("FINISHED", "CRASHED")
        check_books()

    @pytest.mark.parametrize(
        ("called", "ends"), [("large-2x", "RUN_FINISHED"), ("small-1x", "RETRY_QUEUED")]
    )
    def test_the_larger_machine_is_larger_than_the_calls(self, called: str, ends: str) -> None:
        """What counts is the machine the attempt had, which the trigger may have named."""
        world = make_world(task(retry={"outOfMemory": {"machine": "large-1x"}}))
        world.trigger(machine=called)
        run_id, snapshot = world.started()
        died = internal(run_id, "TASK_PROCESS_MAYBE_OOM_KILLED")
        assert world.complete(run_id, snapshot, died).attempt_status == ends

    @pytest.mark.parametrize("retry", [None, {"maxAttempts": 3}])
    def test_without_a_larger_machine_memory_ends_the_run(self, retry: Any) -> None:
        """Another attempt of the same size would end alike, however many are left."""
        world = make_world(task(retry=retry))
        run_id, snapshot = executing(world)
        done = world.complete(run_id, snapshot, internal(run_id, "TASK_PROCESS_OOM_KILLED"))
        assert (done.attempt_status, states_of(run_id)[1]) == ("RUN_FINISHED", "CRASHED")

    def test_a_long_wait_is_spent_in_the_queue(self, world: World) -> None:
        """The slot is given back, the run waits for its time and is then anybody's."""
        run_id, snapshot = executing(world)
        done = world.complete(run_id, snapshot, failed(run_id, delay_ms=60_000))
        assert done.attempt_status == "RETRY_QUEUED"
        assert (read_books().places[run_id], world.lease()) == (["delayed"], [])
        check_books()
        make_due(run_id)
        assert release_due_runs() == 1
        assert world.lease_one().run.attemptNumber == 2

    def test_after_the_last_attempt_the_run_ends(self, world: World) -> None:
        """Three attempts by default; the last error is the run's."""
        run_id, snapshot = executing(world)
        for _ in range(2):
            world.complete(run_id, snapshot, failed(run_id))
            snapshot = world.start(run_id, run_of(run_id).snapshot_id)
        assert world.complete(run_id, snapshot, failed(run_id)).attempt_status == "RUN_FINISHED"
        run = run_of(run_id)
        assert (run.status, run.attempt_number) == ("COMPLETED_WITH_ERRORS", 3)
        shown = json_of(world.api.get(f"/api/v3/runs/{run_id}"))
        assert shown["error"] == {"message": "no", "name": "ValueError", "stackTrace": "at"}

    def test_the_call_may_say_how_often(self, world: World) -> None:
        """`maxAttempts` goes before the task's settings."""
        world.trigger(max_attempts=1)
        run_id, snapshot = world.started()
        assert world.complete(run_id, snapshot, failed(run_id)).attempt_status == "RUN_FINISHED"

    def test_a_died_process_waits_as_its_task_says(self) -> None:
        """The runner could not say when, so the version's back-off does."""
        retry = {"minTimeoutInMs": 7000, "factor": 1, "randomize": False}
        world = make_world(task("hello", retry=retry))
        run_id, snapshot = executing(world)
        world.complete(run_id, snapshot, internal(run_id, "TASK_PROCESS_SIGSEGV"))
        ((wait_s,),) = rows_of(
            "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM runs_delayedentry"
        )
        assert 5 < wait_s <= 7

    def test_an_attempt_may_say_it_was_canceled(self, world: World) -> None:
        """The run is over then, both moves recorded."""
        run_id, snapshot = executing(world)
        world.complete(run_id, snapshot, internal(run_id, "TASK_RUN_CANCELLED"))
        assert states_of(run_id) == ("FINISHED", "CANCELED")
        events = [event for (event,) in rows_of("SELECT event FROM runs_runsnapshot ORDER BY id")]
        assert events[-2:] == ["cancel", "confirm_cancel"]

    def test_a_canceled_runs_workload_confirms(self, world: World) -> None:
        """Whatever it reports under the newer snapshot, the run stays canceled and gives its slot."""
        run_id, snapshot = executing(world)
        cancel_run(environment_id=world.environment_id, run_id=run_id)
        with pytest.raises(StaleSnapshot):
            world.complete(run_id, snapshot)
        world.complete(run_id, run_of(run_id).snapshot_id)
        assert states_of(run_id) == ("FINISHED", "CANCELED")
        check_books()

    def test_only_what_executes_can_end(self, world: World) -> None:
        """A leased run has no attempt to complete."""
        run_id, snapshot = leased(world)
        with pytest.raises(IllegalMove):
            world.complete(run_id, snapshot)
        assert states_of(run_id) == ("PENDING_EXECUTING", "DEQUEUED")

    def test_text_no_database_holds_ends_a_run_all_the_same(self, world: World) -> None:
        """NUL and lone surrogates in what task code wrote are replaced, not refused."""
        run_id, snapshot = executing(world)
        error = {
            "type": "BUILT_IN_ERROR",
            "name": "E\x00",
            "message": "bad \x00 byte \udc80",
            "stackTrace": "\ud800",
        }
        body = {"completion": {"ok": False, "id": run_id, "error": error}}
        path = f"runs/{run_id}/snapshots/{snapshot}/attempts/complete"
        json_of(Supervisor(world).act(path, body))
        assert json_of(world.api.get(f"/api/v3/runs/{run_id}"))["error"]["message"] == (
            "bad \ufffd byte \ufffd"
        )

    @pytest.mark.parametrize(
        "output",
        ["\x00", "\udc80", "[" * 5000 + "]" * 5000, "not json", "NaN", '{"a":1e999}'],
    )
    def test_any_output_can_be_stored_and_read(self, world: World, output: str) -> None:
        """A run is readable whatever its code returned."""
        run_id, snapshot = executing(world)
        body = {"completion": {"ok": True, "id": run_id, "output": output}}
        path = f"runs/{run_id}/snapshots/{snapshot}/attempts/complete"
        json_of(Supervisor(world).act(path, body))
        assert "output" in json_of(world.api.get(f"/api/v3/runs/{run_id}"))
        json_of(world.api.get("/api/v1/runs"))
        json_of(world.api.get(f"/api/v1/runs/{run_id}/result"))

    @pytest.mark.parametrize(
        "data", ["not json", "[1]", '{"a":NaN}', '{"a":-1e999}', '"\x00"', "[" * 5000]
    )
    def test_metadata_that_is_no_object_is_not_taken(self, world: World, data: str) -> None:
        """What the run had before stays, and the run ends as it should."""
        world.trigger(metadata='{"k":1}')
        run_id, snapshot = world.started()
        done = {"ok": True, "id": run_id, "flushedMetadata": {"data": data}}
        world.complete(run_id, snapshot, AttemptSucceeded.model_validate(done))
        assert json_of(world.api.get(f"/api/v3/runs/{run_id}"))["metadata"] == {"k": 1}

    def test_usage_is_bounded(self, world: World) -> None:
        """A figure beyond every clock is cut, a negative one is nothing."""
        run_id, snapshot = executing(world)
        path = f"runs/{run_id}/snapshots/{snapshot}/attempts/complete"
        raw = b'{"completion":{"ok":true,"id":"x","usage":{"durationMs":1e999}}}'
        sent = Supervisor(world).send("POST", f"/engine/v1/worker-actions/{path}", raw=raw)
        json_of(sent)
        assert run_of(run_id).usage_ms == 10 * 365 * 86_400_000

    def test_a_huge_output_is_refused_by_name(self, world: World) -> None:
        """Ten megabytes is the limit, the attempt is still there to be ended otherwise."""
        run_id, snapshot = executing(world)
        huge = AttemptSucceeded(ok=True, id=run_id, output="x" * (10 * 1024 * 1024 + 1))
        with pytest.raises(TooLarge, match="output"):
            world.complete(run_id, snapshot, huge)
        assert states_of(run_id) == ("EXECUTING", "EXECUTING")


def test_a_wrong_body_names_its_field(world: World) -> None:
    """Unknown reasons and kinds of completion are 400."""
    run_id, snapshot = executing(world)
    at = f"runs/{run_id}/snapshots/{snapshot}"
    act = Supervisor(world).act
    wrong = json_of(act(f"{at}/dispatch-failed", {"reason": "tired", "message": "x"}), 400)
    assert wrong["problems"][0]["key"] == "reason"
    for body in ({}, {"completion": {"ok": "yes"}}, {"completion": {"ok": False, "id": "x"}}):
        assert "completion" in json_of(act(f"{at}/attempts/complete", body), 400)["error"]


def test_completing_needs_a_run(world: World) -> None:
    """An id that nobody has is unknown."""
    with pytest.raises(RunNotFound):
        complete_attempt(
            run_id="run_nothing",
            snapshot_id="x",
            completion=AttemptSucceeded(ok=True, id="x"),
            scope=world.scope,
            mover=world.mover(),
        )
