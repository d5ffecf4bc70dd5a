"""A real supervisor with the manager `compute`: gateways that work, and those that do not."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tests.fakes.gateway_fixtures import gateway, scripted, start_gateway, through
from tests.fakes.supervisor_fixtures import (
    IMAGE,
    platform,
    shared_dir,
    start_supervisor,
    uid_base,
)
from tests.fakes.supervisor_process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.gateway_process import GatewayProcess
    from tests.fakes.scripted_gateway import ScriptedGateway
    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform, FakeRun

    Start = Callable[..., SupervisorProcess]

__all__ = [
    "gateway", "platform", "scripted", "shared_dir", "start_gateway", "start_supervisor",
    "uid_base",
]  # fmt: skip

ALLOWED = {
    "CROSSFADE_CODE_DIR", "HOME", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "TMPDIR", "TZ", "PRETTY_LOGS",
}  # fmt: skip


def name_of(run: FakeRun, *, dispatch: int = 1, suffix: str = "") -> str:
    """Give the name of a run's instance."""
    return f"runner-{run.id.removeprefix('run_')}-{dispatch}{suffix}"


def start_calls(platform: FakePlatform, run: FakeRun) -> None:
    """Wait until the run's attempt has begun."""
    eventually(lambda: run.status == "EXECUTING")


def created_names(scripted: ScriptedGateway) -> list[str]:
    """Give the names of the creates so far."""
    return [body["name"] for body, _ in scripted.creates]


# -- with a gateway that works --------------------------------------------------------------------


def test_run_is_executed_through_the_gateway(
    platform: FakePlatform, start_supervisor: Start, gateway: GatewayProcess
) -> None:
    """A leased run becomes an instance, its code runs there, and the instance goes with it."""
    supervisor = start_supervisor(
        "import os\nresult.update(environ=dict(os.environ), uid=os.getuid())",
        **through(gateway.url),
    )
    run = platform.add_run("one")
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text + gateway.log_text)
    output = json.loads(run.completions[0]["output"])
    seen = output["environ"]
    assert seen["TRIGGER_RUNNER_ID"] == name_of(run)
    assert run.runners == [name_of(run)]
    assert {name for name in seen if not name.startswith("TRIGGER_")} <= ALLOWED
    assert (output["uid"] == os.getuid()) == (os.geteuid() != 0)
    eventually(lambda: gateway.listed() == {})
    eventually(lambda: bool(supervisor.events("workload.exited")))
    assert supervisor.events("workload.exited")[0]["phase"] == "done"
    assert run.failures == []


def test_instance_says_whose_it_is(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """The create has the run's machine, its image without digest, metadata, labels and env."""
    start_supervisor(**through(scripted.url))
    run = platform.add_run("meta", image=f"{IMAGE}@sha256:{'0' * 64}", cpu=1, memory=2)
    eventually(lambda: len(scripted.creates) == 1)
    body, headers = scripted.creates[0]
    assert (body["name"], body["image"]) == (name_of(run), IMAGE)
    assert (body["cpu"], body["memory_gb"]) == (1, 2)
    assert body["labels"] == {"org": "org_o"}
    assert body["metadata"] == {
        "runId": run.id,
        "envId": "env_e",
        "envType": "PRODUCTION",
        "orgId": "org_o",
        "projectId": "proj_p",
        "deploymentVersion": "20260102.1",
        "machine": "small-1x",
        "supervisor": "test-supervisor",
    }
    assert all(isinstance(value, str) for value in body["env"].values())
    assert body["env"]["TRIGGER_RUN_ID"] == run.id
    assert body["env"]["TRIGGER_RUNNER_ID"] == name_of(run)
    assert body["env"]["TRIGGER_DEPLOYMENT_FRIENDLY_ID"] == "deployment_d"
    assert headers["x-request-id"]


def test_crash_is_reported_as_what_it_was(
    platform: FakePlatform, start_supervisor: Start, gateway: GatewayProcess
) -> None:
    """An instance that dies in its attempt has it completed, with code and last words."""
    script = "import os, sys; print('last words', flush=True); os._exit(7)"
    supervisor = start_supervisor(script, **through(gateway.url))
    run = platform.add_run("crash")
    eventually(lambda: bool(run.completions), what=supervisor.log_text)
    error = run.completions[0]["error"]
    assert error["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    assert "code 7" in error["message"]
    assert "last words" in error["message"]
    eventually(lambda: gateway.listed() == {})


def test_unknown_image_ends_the_run(
    platform: FakePlatform, start_supervisor: Start, gateway: GatewayProcess
) -> None:
    """An image the platform does not have is told at once, and never tried again."""
    start_supervisor(**through(gateway.url))
    run = platform.add_run("nothing", image="crossfade/none:1-0")
    eventually(lambda: run.status == "FINISHED")
    (failure,) = run.failures
    assert (failure["reason"], failure["permanent"]) == ("no_image", True)


def test_drain_ends_instances_and_reports_them(
    platform: FakePlatform, start_supervisor: Start, gateway: GatewayProcess
) -> None:
    """A supervisor that stops deletes what still runs and hands its attempts back."""
    supervisor = start_supervisor(
        "import time; time.sleep(60)",
        **through(gateway.url),
        CROSSFADE_DRAIN_TIMEOUT_SECONDS="0",
    )
    run = platform.add_run("drain")
    start_calls(platform, run)
    assert supervisor.stop() == 0
    assert gateway.listed() == {}
    assert run.completions[0]["error"]["code"] == "TASK_PROCESS_SIGTERM"


# -- creates that fail ----------------------------------------------------------------------------


def test_refused_creates_are_tried_under_new_names(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """After 500 and 503 the next create has a suffix, also in the runner's own identity."""
    scripted.script = [500, 503]
    start_supervisor(**through(scripted.url))
    run = platform.add_run("retry")
    eventually(lambda: len(scripted.creates) == 3)
    expected = [name_of(run), name_of(run, suffix="-r2"), name_of(run, suffix="-r3")]
    assert created_names(scripted) == expected
    assert [body["env"]["TRIGGER_RUNNER_ID"] for body, _ in scripted.creates] == expected
    assert len({headers["x-request-id"] for _, headers in scripted.creates}) == 1
    eventually(lambda: list(scripted.instances) == expected[2:])
    assert run.failures == []


def test_lost_answers_are_asked_again_under_the_same_name(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """A create whose answer was lost is repeated as it was, and the gateway knows it again."""
    scripted.script = ["commit-drop", "drop"]
    start_supervisor(**through(scripted.url))
    run = platform.add_run("lost")
    eventually(lambda: len(scripted.creates) == 3)
    assert created_names(scripted) == [name_of(run)] * 3
    assert list(scripted.instances) == [name_of(run)]
    assert run.failures == []


def test_instance_of_a_lost_answer_is_adopted(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """A gateway that knows no repeats answers 409; the instance is found to be ours."""
    scripted.idempotent = False
    scripted.script = ["commit-drop"]
    supervisor = start_supervisor(**through(scripted.url))
    run = platform.add_run("adopt")
    eventually(lambda: bool(supervisor.events("workload.created")), what=supervisor.log_text)
    assert created_names(scripted) == [name_of(run)] * 2
    assert (run.failures, scripted.deleted) == ([], [])


def failed_with(
    platform: FakePlatform, scripted: ScriptedGateway, name: str, script: list[int | str]
) -> tuple[FakeRun, dict[str, Any]]:
    """Let every create of a run fail like this and give what the platform is told first."""
    scripted.script = list(script)
    run = platform.add_run(name)
    eventually(lambda: bool(run.failures))
    return run, run.failures[0]


def wait_for_instance(scripted: ScriptedGateway, name: str) -> None:
    """Wait until an instance is there."""
    eventually(lambda: name in scripted.instances)


FINAL: tuple[tuple[list[int | str], str, bool], ...] = (
    ([500, 500, 500], "create_failed", False),
    ([503, 503, 503], "no_capacity", False),
    ([502], "no_capacity", False),
    ([409], "create_failed", False),
    ([400], "create_failed", True),
    ([422], "no_image", True),
    (["garbage"], "create_failed", False),
    (["drop", "drop", "drop"], "no_capacity", False),
)


def test_final_failure_is_told_at_once(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """Whatever the gateway answers, the lease goes back with a reason and does not idle."""
    start_supervisor(**through(scripted.url))
    for number, (script, reason, permanent) in enumerate(FINAL):
        run, failure = failed_with(platform, scripted, f"final{number}", script)
        assert (failure["reason"], failure["permanent"]) == (reason, permanent), script
        assert failure["message"]
        if not permanent:
            wait_for_instance(scripted, name_of(run, dispatch=2))


def test_gateway_that_says_nothing_holds_no_lease(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """A create without an answer ends at its deadline; what it made later is cleared away."""
    supervisor = start_supervisor(**through(scripted.url), COMPUTE_GATEWAY_TIMEOUT_MS="300")
    run, failure = failed_with(platform, scripted, "silent", ["hang"])
    assert (failure["reason"], failure["permanent"]) == ("no_capacity", False)
    assert created_names(scripted)[0] == name_of(run)
    late = name_of(run)
    scripted.add(late, metadata={"supervisor": "test-supervisor", "runId": run.id})
    eventually(lambda: late in scripted.deleted, what=supervisor.log_text)
    eventually(lambda: name_of(run, dispatch=2) in scripted.instances)


def test_no_gateway_at_all_loses_no_run(
    platform: FakePlatform, start_supervisor: Start, start_gateway: Callable[..., GatewayProcess]
) -> None:
    """While the gateway is away leases go back uncounted; when it is there the run executes."""
    gateway = start_gateway()
    gateway.kill()
    supervisor = start_supervisor(**through(gateway.url))
    run = platform.add_run("away")
    eventually(lambda: bool(run.failures), what=supervisor.log_text)
    assert run.failures[0]["reason"] == "no_capacity"
    gateway.start()
    run.move("QUEUED")
    eventually(lambda: run.status == "FINISHED" and bool(run.completions), what=gateway.log_text)


# -- what the list shows --------------------------------------------------------------------------


def test_unreachable_gateway_is_no_end(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """Lists that fail end nothing, and an exit is seen in the next one that does not."""
    supervisor = start_supervisor(**through(scripted.url))
    runs = [platform.add_run(name) for name in ("l1", "l2", "l3")]
    eventually(lambda: len(scripted.instances) == 3)
    scripted.list_status = 500
    eventually(lambda: len(supervisor.events("instances.not_listed")) >= 3)
    assert not supervisor.events("workload.exited")
    scripted.list_status = 200
    scripted.end(name_of(runs[0]), exitCode=0)
    eventually(lambda: bool(supervisor.events("workload.exited")))
    assert [one["name"] for one in supervisor.events("workload.exited")] == [name_of(runs[0])]
    eventually(lambda: scripted.deleted == [name_of(runs[0])])


def test_vanished_instance_is_found_out(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """An instance that no list has any more is gone, and its lease goes back."""
    supervisor = start_supervisor(**through(scripted.url))
    run = platform.add_run("vanish")
    eventually(lambda: bool(supervisor.events("workload.created")))
    scripted.forget(name_of(run))
    eventually(lambda: bool(run.failures), what=supervisor.log_text)
    assert "is gone" in run.failures[0]["message"]


def test_leftovers_of_an_earlier_life_are_ended(
    platform: FakePlatform, start_supervisor: Start, scripted: ScriptedGateway
) -> None:
    """At its start a supervisor ends what bears its name, and nothing else."""
    scripted.add("mine", metadata={"supervisor": "test-supervisor"})
    scripted.add("other", metadata={"supervisor": "another"})
    scripted.add("nobody's")
    supervisor = start_supervisor(**through(scripted.url))
    eventually(lambda: scripted.deleted == ["mine"], what=supervisor.log_text)
    eventually(lambda: scripted.lists >= 3)
    assert sorted(scripted.instances) == ["nobody's", "other"]
    assert supervisor.events("instances.left_over")[0]["names"] == ["mine"]
