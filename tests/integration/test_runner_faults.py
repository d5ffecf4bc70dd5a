"""The runner and a platform that loses answers, is busy, refuses, or is gone."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fake_workload_api import FakeRun, Fault
from tests.runner_process import ROOT, execute, finish, runner, write_task

if TYPE_CHECKING:
    from pathlib import Path

RETURNS_ONE = """
    @task
    def main(payload):
        return 1
"""


@pytest.mark.parametrize("fault", ["lose_request", "lose_answer", "500", "503", "garbage"])
@pytest.mark.parametrize("call", ["start", "complete"])
@pytest.mark.fault(
    kills="an answer to a runner is lost or broken",
    step="any call of a runner",
    expects="it asks again with the same key",
)
def test_a_lost_or_broken_answer_is_asked_for_again(
    tmp_path: Path, call: str, fault: Fault
) -> None:
    """One repeat with the same idempotency key: one attempt, one completion, whatever was lost."""
    run = FakeRun(faults={call: [fault]})
    assert execute(run, tmp_path, RETURNS_ONE).code == 0
    assert (run.attempt, len(run.completions)) == (1, 1)
    assert run.calls[call] == 2


def test_a_stale_start_ends_quietly(tmp_path: Path) -> None:
    """409 at the start is final: somebody else has the run, and nobody is bothered."""
    run = FakeRun()
    run.move("QUEUED")
    ended = execute(run, tmp_path, RETURNS_ONE)
    assert (ended.code, run.attempt, run.calls["start"]) == (0, 0, 1)


def test_a_stale_completion_ends_quietly(tmp_path: Path) -> None:
    """409 at the completion: the run has moved on, the result is not forced upon it."""
    run = FakeRun(faults={"complete": ["409"]})
    ended = execute(run, tmp_path, RETURNS_ONE)
    assert (ended.code, run.completions) == (0, [])
    assert "moved on" in ended.stderr


def test_an_output_the_platform_refuses_fails_the_run(tmp_path: Path) -> None:
    """413 for a success becomes a failure that says so, in place of a run that never ends."""
    run = FakeRun(faults={"complete": ["413"]})
    assert execute(run, tmp_path, RETURNS_ONE).code == 0
    [completion] = run.completions
    assert completion["error"]["code"] == "TASK_OUTPUT_ERROR"
    assert "scripted 413" in completion["error"]["message"]


def test_identity_and_idempotency_headers(tmp_path: Path) -> None:
    """Every call names the runner, and carries a key."""
    run = FakeRun()
    execute(run, tmp_path, RETURNS_ONE)
    for headers in run.headers:
        assert headers["x-trigger-workload-runner-id"] == "runner-1"
        assert headers["x-trigger-workload-deployment-id"] == "token"
        assert headers["x-trigger-workload-deployment-version"] == "20261122.1"
        assert headers["x-trigger-workload-project-ref"] == "proj_abc"
        assert headers["x-trigger-request-idempotency-key"]


def test_heartbeats_and_polls_survive_faults(tmp_path: Path) -> None:
    """Failing heartbeats and polls neither end the task nor stop the next ones."""
    run = FakeRun(
        faults={"heartbeat": ["500", "500", "garbage"], "since": ["lose_answer", "503", "garbage"]}
    )
    gate = tmp_path / "gate"
    run.payload, run.payload_type = str(gate), "text/plain"
    source = """
        @task
        def main(payload):
            while not os.path.exists(payload):
                time.sleep(0.01)
            return 1
    """
    write_task(tmp_path, source)
    with runner(run, tmp_path) as process:
        run.until(lambda: run.calls["heartbeat"] > 5 and run.calls["since"] > 5)
        gate.touch()
        assert finish(process).code == 0
    assert run.completions[0]["ok"] is True


def test_a_development_runner_talks_to_the_platform_itself(tmp_path: Path) -> None:
    """The base URL and the authorization may be given; they replace the supervisor's."""
    run = FakeRun()
    write_task(tmp_path, RETURNS_ONE)
    with runner(run, tmp_path, CROSSFADE_RUNNER_AUTHORIZATION="Bearer tr_dev_x") as process:
        assert finish(process).code == 0
    assert {headers["authorization"] for headers in run.headers} == {"Bearer tr_dev_x"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRIGGER_RUN_ID", "", "TRIGGER_RUN_ID is not set"),
        ("CROSSFADE_CODE_DIR", "", "CROSSFADE_CODE_DIR is not set"),
        ("TRIGGER_HEARTBEAT_INTERVAL_SECONDS", "soon", "TRIGGER_HEARTBEAT_INTERVAL_SECONDS"),
    ],
)
def test_a_bad_environment_is_named(tmp_path: Path, name: str, value: str, said: str) -> None:
    """A missing or unusable variable is said by name, and the exit code is 2."""
    write_task(tmp_path, RETURNS_ONE)
    with runner(FakeRun(), tmp_path, **{name: value}) as process:
        ended = finish(process)
    assert ended.code == 2
    assert said in ended.stderr


def test_an_unreachable_supervisor_is_an_error(tmp_path: Path) -> None:
    """When nobody takes the start, the process ends with 1 for whoever started it to see."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        program = (
            "from crossfade.runner.platform import Platform, Tries, Unreachable\n"
            f"platform = Platform('http://127.0.0.1:{port}', 'run_1', {{}}, sleep=lambda s: None)\n"
            "try:\n    platform.start('s', warm=False)\n"
            "except Unreachable as error:\n    print(error)\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert "refused" in ended.stdout
