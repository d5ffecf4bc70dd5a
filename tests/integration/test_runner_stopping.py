"""A run that must stop, stops: cancelled, too long, or taken away; and reports what it may."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.fake_workload_api import FakeRun
from tests.runner_process import execute, finish, runner, write_task

if TYPE_CHECKING:
    from pathlib import Path

SLEEPER = """
    @task
    def main(payload, ctx):
        print("began", flush=True)
        try:
            time.sleep(60)
        finally:
            print("cleaned up")
"""
ASYNC_SLEEPER = """
    @task
    async def main(payload, ctx):
        print("began", flush=True)
        try:
            await asyncio.sleep(60)
        finally:
            print("cleaned up")
"""
STUBBORN = """
    @task
    def main(payload, ctx):
        print("began", flush=True)
        while True:
            try:
                time.sleep(60)
            except BaseException:
                print("no")
"""
STUBBORN_ASYNC = """
    @task
    async def main(payload, ctx):
        print("began", flush=True)
        while True:
            time.sleep(60)
"""
CHILD_PROCESS = """
    import subprocess

    @task
    def main(payload, ctx):
        print("began", flush=True)
        subprocess.run(["sleep", "60"], check=True)
"""


def began(run: FakeRun) -> bool:
    """Say whether the first attempt's first line has arrived."""
    return "began" in run.texts()


@pytest.mark.parametrize("source", [SLEEPER, ASYNC_SLEEPER])
def test_cancel_stops_the_task_and_is_confirmed(tmp_path: Path, source: str) -> None:
    """A cancelled task may clean up, and the run is completed under its cancel's snapshot."""
    run = FakeRun()
    write_task(tmp_path, source)
    with runner(run, tmp_path) as process:
        run.until(lambda: began(run))
        run.move("PENDING_CANCEL")
        assert finish(process).code == 0
    [completion] = run.completions
    assert completion["error"]["code"] == "TASK_RUN_CANCELLED"
    assert "retry" not in completion
    assert run.texts()[-1] == "cleaned up"
    assert run.snapshots[-1][1] == "FINISHED"


@pytest.mark.parametrize("source", [STUBBORN, STUBBORN_ASYNC, CHILD_PROCESS])
def test_a_task_that_does_not_stop_is_ended(tmp_path: Path, source: str) -> None:
    """After the grace the process ends, and the cancel is confirmed for the task."""
    run = FakeRun()
    write_task(tmp_path, source)
    with runner(run, tmp_path) as process:
        run.until(lambda: began(run))
        run.move("PENDING_CANCEL")
        assert finish(process).code == 0
    [completion] = run.completions
    assert completion["error"]["code"] == "TASK_RUN_CANCELLED"


@pytest.mark.parametrize("source", [SLEEPER, ASYNC_SLEEPER, STUBBORN])
def test_max_duration_is_enforced(tmp_path: Path, source: str) -> None:
    """An attempt that runs longer than its limit ends with the platform's code for it."""
    run = FakeRun(run_extra={"maxDuration": 0.3})
    assert execute(run, tmp_path, source).code == 0
    [completion] = run.completions
    assert completion["error"]["code"] == "MAX_DURATION_EXCEEDED"
    assert "0.3 s" in completion["error"]["message"]
    assert "retry" not in completion


def test_a_finished_attempt_is_not_timed_out_later(tmp_path: Path) -> None:
    """The limit counts per attempt: a failed attempt's timer does not end the next one."""
    run = FakeRun(run_extra={"maxDuration": 4})
    source = """
        @task(retry=Retry(min_timeout_ms=1))
        def main(payload, ctx):
            time.sleep(1.5)
            if ctx.attempt.number < 3:
                raise ValueError
            return "done"
    """
    execute(run, tmp_path, source)
    assert [item["ok"] for item in run.completions] == [False, False, True]


@pytest.mark.parametrize("status", ["QUEUED", "FINISHED", "PENDING_EXECUTING", "SUSPENDED"])
def test_a_run_taken_away_is_not_completed(tmp_path: Path, status: str) -> None:
    """When a newer snapshot says that the run is not ours, the task is ended without a report."""
    run = FakeRun()
    write_task(tmp_path, SLEEPER)
    with runner(run, tmp_path) as process:
        run.until(lambda: began(run))
        run.move(status)
        ended = finish(process)
    assert (ended.code, run.completions) == (0, [])
    assert "taken away" in ended.stderr


def test_another_runners_attempt_ends_ours(tmp_path: Path) -> None:
    """The same status under a later attempt number is somebody else's execution."""
    run = FakeRun()
    write_task(tmp_path, STUBBORN)
    with runner(run, tmp_path) as process:
        run.until(lambda: began(run))
        run.move("EXECUTING", 2)
        assert finish(process).code == 0
    assert run.completions == []


def test_a_newer_snapshot_of_ours_is_followed(tmp_path: Path) -> None:
    """A snapshot of our own attempt moves the id that the completion names."""
    run = FakeRun()
    gate = tmp_path / "gate"
    source = """
        @task
        def main(payload, ctx):
            print("began", flush=True)
            while not os.path.exists(payload):
                time.sleep(0.01)
            return 1
    """
    run.payload, run.payload_type = str(gate), "text/plain"
    write_task(tmp_path, source)
    with runner(run, tmp_path) as process:
        run.until(lambda: began(run))
        run.move("EXECUTING_WITH_WAITPOINTS")
        before = run.calls["since"]
        run.until(lambda: run.calls["since"] >= before + 2)
        gate.touch()
        assert finish(process).code == 0
    assert run.completions[0]["ok"] is True


def test_cancel_while_waiting_for_a_retry(tmp_path: Path) -> None:
    """A run cancelled between two attempts is confirmed at once, not after the wait."""
    run = FakeRun()
    source = """
        @task(retry=Retry(min_timeout_ms=20_000, randomize=False))
        def main(payload):
            raise ValueError
    """
    write_task(tmp_path, source)
    with runner(run, tmp_path) as process:
        run.until(lambda: len(run.completions) == 1)
        run.move("PENDING_CANCEL")
        assert finish(process, timeout_s=10).code == 0
    assert run.completions[-1]["error"]["code"] == "TASK_RUN_CANCELLED"
    assert run.attempt == 1


def test_cancel_that_races_with_the_end(tmp_path: Path) -> None:
    """A completion refused because a cancel came first is sent again as its confirmation."""
    run = FakeRun()
    source = """
        @task
        def main(payload):
            print("began", flush=True)
            time.sleep(0.6)
            return 1
    """
    write_task(tmp_path, source)
    slow = {"TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS": "30"}
    with runner(run, tmp_path, **slow) as process:
        run.until(lambda: began(run))
        run.move("PENDING_CANCEL")
        assert finish(process).code == 0
    assert [c.get("error", {}).get("code") for c in run.completions] == ["TASK_RUN_CANCELLED"]
    assert run.snapshots[-1][1] == "FINISHED"


def test_sigterm_lets_the_run_finish(tmp_path: Path) -> None:
    """A supervisor that ends does not take the work of an attempt with it."""
    run = FakeRun()
    source = """
        @task
        def main(payload):
            print("began", flush=True)
            time.sleep(0.5)
            return "finished"
    """
    write_task(tmp_path, source)
    with runner(run, tmp_path) as process:
        run.until(lambda: began(run))
        os.kill(process.pid, signal.SIGTERM)
        assert finish(process).code == 0
    assert run.completions[0]["output"] == '"finished"'


def test_threads_left_behind_do_not_hold_the_process(tmp_path: Path) -> None:
    """A task's own thread that never ends costs a few seconds, not the slot."""
    run = FakeRun()
    source = """
        @task
        def main(payload):
            threading.Thread(target=time.sleep, args=(60,)).start()
            return 1
    """
    assert execute(run, tmp_path, source).code == 0
    assert run.completions[0]["ok"] is True


def test_cancel_in_the_middle_of_output(tmp_path: Path) -> None:
    """An interruption never tears our own locked sections: a printing task ends like any other."""
    run = FakeRun()
    source = """
        @task
        def main(payload):
            print("began", flush=True)
            while True:
                print("x" * 2000)
    """
    write_task(tmp_path, source)
    with runner(run, tmp_path, CROSSFADE_CANCEL_GRACE_SECONDS="60") as process:
        run.until(lambda: began(run))
        run.move("PENDING_CANCEL")
        assert finish(process, timeout_s=25).code == 0
    assert run.completions[0]["error"]["code"] == "TASK_RUN_CANCELLED"
