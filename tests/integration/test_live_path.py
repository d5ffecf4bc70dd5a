"""The path that everything hangs on, through real processes: deploy, trigger, lease, run, read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.live import REPOSITORY
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.live import LiveStack

LATER = """
from crossfade import task

@task(id="later")
def later(payload):
    return {"doubled": payload["number"] * 2}
"""
HUNGRY = """
from crossfade import Retry, task

@task(id="hungry", machine="micro", retry=Retry(out_of_memory_machine="small-2x"))
def hungry(payload, ctx):
    return {"bytes": len(bytearray(500_000_000)), "machine": ctx.machine.name}
"""
CANCEL_S = 40.0  # less than the minute after which an unconfirmed cancel is over by itself


def test_command_line_prints_the_completed_run(live_stack: LiveStack) -> None:
    """`crossfade trigger --wait` prints the finished run with its output and region."""
    payload = json.dumps({"name": "Ada"})
    done = live_stack.crossfade("trigger", "hello-world", "--payload", payload, "--wait")
    run = json.loads(done.stdout)
    assert run["status"] == "COMPLETED"
    assert run["output"] == {"message": "Hello, Ada!"}
    assert run["region"] == "us-east-1"


def test_plain_http_triggers_and_reads(live_stack: LiveStack) -> None:
    """Two plain requests trigger a run and read its result."""
    run = live_stack.wait_run(live_stack.trigger("hello-world", {"name": "Grace"}))
    assert (run["status"], run["isSuccess"], run["region"]) == ("COMPLETED", True, "us-east-1")
    assert run["output"] == {"message": "Hello, Grace!"}
    assert run["payload"] == {"name": "Grace"}
    assert run["attemptCount"] == 1


def test_region_is_chosen_by_its_label(live_stack: LiveStack) -> None:
    """A run goes to the region that its trigger names."""
    run_id = live_stack.trigger("hello-world", {"name": "Emmy"}, region="eu-central-1")
    assert live_stack.wait_run(run_id)["region"] == "eu-central-1"


def test_flaky_succeeds_on_its_third_attempt(live_stack: LiveStack) -> None:
    """A task that fails is tried again as its own retry settings say."""
    done = live_stack.crossfade("trigger", "flaky", "--wait")
    run = json.loads(done.stdout)
    assert (run["status"], run["attemptCount"]) == ("COMPLETED", 3)
    assert run["output"] == {"attempts": 3}


def test_chaos_append_writes_one_line_per_attempt(live_stack: LiveStack, shared_file: Path) -> None:
    """Each attempt that began has left exactly one line, also where runs share a file."""
    payload = {"file": str(shared_file), "token": "t", "sleepMs": 0}
    ids = [live_stack.trigger("chaos-append", payload) for _ in range(6)]
    for run_id in ids:
        assert live_stack.wait_run(run_id)["output"] == {"token": "t"}
    assert sorted(shared_file.read_text().splitlines()) == sorted(f"{one} 1 t" for one in ids)


def test_memory_that_ran_out_is_tried_again_on_a_larger_machine(
    live_stack: LiveStack, tmp_path: Path
) -> None:
    """What does not fit into the task's own machine completes on the one its retry names."""
    key = live_stack.new_tenant()["prod"]
    (tmp_path / "tasks.py").write_text(HUNGRY)
    live_stack.crossfade("deploy", str(tmp_path), key=key)
    run = live_stack.wait_run(live_stack.trigger("hungry", key=key), key=key)
    assert (run["status"], run["attemptCount"]) == ("COMPLETED", 2)
    assert run["output"] == {"bytes": 500_000_000, "machine": "small-2x"}


def test_report_reads_the_file_it_was_deployed_with(live_stack: LiveStack) -> None:
    """A data file in the deployed folder is there when the task runs."""
    run = live_stack.wait_run(live_stack.trigger("sales-report"))
    assert run["status"] == "COMPLETED", run
    assert run["output"]["rows"] > 0
    assert run["metadata"] == {"rows": run["output"]["rows"]}


def test_requirements_are_installed_once(live_stack: LiveStack) -> None:
    """A task imports what `requirements.txt` names; runs and versions share one installation."""
    run = live_stack.wait_run(live_stack.trigger("thumbnail", {"size": 64}), timeout_s=120)
    assert (run["output"]["width"], run["output"]["height"]) == (64, 48)
    live_stack.crossfade("deploy", "examples", key=live_stack.key)
    again = live_stack.wait_run(live_stack.trigger("thumbnail"), timeout_s=120)
    assert again["version"] != run["version"]
    workspace = Path(
        live_stack.events("supervisor-container", "workloads.prepared")[-1]["workspace"]
    )
    assert len(list(workspace.glob("environments/*/requirements.txt"))) == 1


def test_fan_in_collects_its_parts(live_stack: LiveStack) -> None:
    """A run triggers others, waits for them and adds up what they return."""
    run = live_stack.wait_run(
        live_stack.trigger("fan-in-sum", {"numbers": [1, 2, 3, 4, 5], "parts": 2})
    )
    assert run["output"] == {"sum": 15, "parts": 2}
    children = run["relatedRuns"]["children"]
    assert [child["taskIdentifier"] for child in children] == ["sum-part", "sum-part"]


def test_logs_of_an_attempt_are_readable(live_stack: LiveStack) -> None:
    """What a task logs is read back by run and attempt, over HTTP and the command line."""
    run_id = live_stack.trigger("hello-world", {"name": "Lise"})
    live_stack.wait_run(run_id)
    lines = live_stack.ask("GET", f"/api/v1/runs/{run_id}/logs?attempt=1")["data"]
    assert "greeting Lise" in [line["text"] for line in lines]
    assert "greeting Lise" in live_stack.crossfade("runs", "logs", run_id).stdout


def test_error_of_a_task_reaches_the_run(live_stack: LiveStack) -> None:
    """A task that raises ends FAILED with the exception's name, message and traceback."""
    run = live_stack.wait_run(live_stack.trigger("sales-report", {"region": "x"}, maxAttempts=1))
    assert run["status"] == "FAILED"
    assert run["error"]["message"] == "no sales in region 'x'"
    assert run["error"]["name"] == "ValueError"
    assert "report.py" in run["error"]["stackTrace"]


def test_cancel_ends_an_executing_run(live_stack: LiveStack, shared_file: Path) -> None:
    """Canceling a run that executes stops its workload, which confirms before its time is up."""
    payload = {"file": str(shared_file), "token": "t", "sleepMs": 60_000}
    run_id = live_stack.trigger("chaos-append", payload)
    wait_until(shared_file.exists, timeout_s=30, what="the attempt began")
    canceled = json.loads(live_stack.crossfade("runs", "cancel", run_id).stdout)
    assert canceled == {"id": run_id}
    run = live_stack.wait_run(run_id, timeout_s=CANCEL_S)
    assert (run["status"], run["isCancelled"]) == ("CANCELED", True)
    assert len(shared_file.read_text().splitlines()) == 1


def test_delayed_run_starts_when_due(live_stack: LiveStack) -> None:
    """A delayed run waits as DELAYED, and runs when its time has come, not before."""
    run_id = live_stack.trigger("hello-world", {"name": "Ada"}, delay="2s")
    assert live_stack.run(run_id)["status"] == "DELAYED"
    run = live_stack.wait_run(run_id)
    assert run["status"] == "COMPLETED"
    due, began = (datetime.fromisoformat(run[name]) for name in ("delayedUntil", "startedAt"))
    assert began >= due


def test_unknown_task_waits_for_its_deployment(live_stack: LiveStack, tmp_path: Path) -> None:
    """A run of a task that no version has waits, and runs once a version with it is deployed."""
    key = live_stack.new_tenant()["prod"]
    run_id = live_stack.trigger("later", {"number": 21}, key=key)
    assert live_stack.run(run_id, key=key)["status"] == "PENDING_VERSION"
    (tmp_path / "tasks.py").write_text(LATER)
    deployed = json.loads(live_stack.crossfade("deploy", str(tmp_path), key=key).stdout)
    run = live_stack.wait_run(run_id, key=key)
    assert (run["output"], run["version"]) == ({"doubled": 42}, deployed["version"])


def test_development_run_is_executed_by_crossfade_dev(
    live_stack: LiveStack, tmp_path: Path
) -> None:
    """A run of a development environment is executed by `crossfade dev`, and has no region."""
    key = live_stack.new_tenant()["dev"]
    (tmp_path / "tasks.py").write_text(LATER)
    with developing(live_stack, tmp_path, key):
        run = live_stack.wait_run(live_stack.trigger("later", {"number": 4}, key=key), key=key)
    assert run["output"] == {"doubled": 8}
    assert "region" not in run


@contextmanager
def developing(stack: LiveStack, folder: Path, key: str) -> Generator[None, None, None]:
    """Have `crossfade dev` running for the block."""
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossfade", "dev", str(folder)],
            cwd=REPOSITORY,
            env={**stack.client_environment(), "TRIGGER_DEV_SECRET_KEY": key},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(30)
    assert status == 0, (folder / "dev.log").read_text()
