"""The real runner of task authors in a real workload of a real supervisor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.fakes.supervisor_fixtures import (
    IMAGE,
    platform,
    shared_dir,
    start_supervisor,
    uid_base,
)
from tests.fakes.supervisor_process import REPOSITORY, eventually, make_artifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform, FakeRun

    Start = Callable[..., SupervisorProcess]

__all__ = ["platform", "shared_dir", "start_supervisor", "uid_base"]

TASKS = """
import ctypes, os, subprocess, sys
from crossfade import task

@task(id="greet")
def greet(payload):
    print("greeting", payload["name"])
    return {"message": f"Hello, {payload['name']}!"}

@task(id="fails")
def fails(payload):
    raise ValueError("not today")

@task(id="leaves")
def leaves(payload):
    os._exit(7)

@task(id="crashes")
def crashes(payload):
    ctypes.string_at(0)

@task(id="greedy")
def greedy(payload):
    hold = []
    while True:
        hold.append(bytearray(1 << 24))

@task(id="child")
def child(payload):
    return subprocess.run([sys.executable, "-c", "import crossfade"]).returncode
"""


def execute(
    platform: FakePlatform, start_supervisor: Start, task: str, **fields: Any
) -> tuple[FakeRun, SupervisorProcess]:
    """Run a task to its end."""
    supervisor = start_supervisor(packages=REPOSITORY)
    platform.add_artifact(IMAGE, make_artifact({"tasks.py": TASKS}))
    run = platform.add_run(task, task=task, payload=json.dumps({"name": "Ada"}), **fields)
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)
    return run, supervisor


def test_task_runs_and_its_lines_arrive(platform: FakePlatform, start_supervisor: Start) -> None:
    """A task's output and what it printed reach the platform."""
    run, _ = execute(platform, start_supervisor, "greet")
    assert json.loads(run.completions[0]["output"]) == {"message": "Hello, Ada!"}
    lines = [line["text"] for batch in run.logs for line in batch["lines"]]
    assert "greeting Ada" in lines


def test_error_is_the_tasks_own(platform: FakePlatform, start_supervisor: Start) -> None:
    """An exception of the task is reported by the runner, with its name and message."""
    run, supervisor = execute(platform, start_supervisor, "fails")
    assert run.completions[0]["error"]["name"] == "ValueError"
    assert run.completions[0]["error"]["message"] == "not today"
    assert supervisor.events("attempt.completed_for_dead_workload") == []


def test_leaving_process_is_reported(platform: FakePlatform, start_supervisor: Start) -> None:
    """A task that ends its process fails the attempt with the exit code."""
    run, _ = execute(platform, start_supervisor, "leaves")
    assert run.completions[0]["error"]["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    assert "code 7" in run.completions[0]["error"]["message"]


def test_crash_in_native_code_is_reported(platform: FakePlatform, start_supervisor: Start) -> None:
    """A segmentation fault in native code fails the attempt with its own code."""
    run, _ = execute(platform, start_supervisor, "crashes")
    assert run.completions[0]["error"]["code"] == "TASK_PROCESS_SIGSEGV"


def test_greedy_task_meets_its_limit(platform: FakePlatform, start_supervisor: Start) -> None:
    """The smallest preset is enough to run, and a task that wants more fails for memory."""
    run, _ = execute(platform, start_supervisor, "greedy", cpu=0.25, memory=0.25)
    error = run.completions[0]["error"]
    assert "MemoryError" in str(error) or error.get("code") == "TASK_PROCESS_OOM_KILLED"


def test_python_started_by_a_task_finds_the_package(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """A Python that a task starts itself can import what the task can."""
    run, _ = execute(platform, start_supervisor, "child")
    assert json.loads(run.completions[0]["output"]) == 0
