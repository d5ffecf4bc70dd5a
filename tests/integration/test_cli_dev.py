"""`crossfade dev`: leases runs, executes them here, reloads, and ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.fake_rest_api import DEV_KEY, FakePlatform, serving_rest
from tests.fake_workload_api import FakeRun
from tests.runner_process import ROOT, write_task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER = "@task\ndef main(payload):\n    return {answer}\n"


@contextmanager
def dev(platform: FakePlatform, path: Path, key: str = DEV_KEY) -> Iterator[subprocess.Popen[str]]:
    """Run a development session; it is gone when the block ends."""
    with serving_rest(platform) as url:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossfade", "dev", str(path)],
            env={
                "PATH": os.environ["PATH"],  # noqa: TID251
                "PYTHONPATH": str(ROOT),
                "TRIGGER_API_URL": url,
                "TRIGGER_DEV_SECRET_KEY": key,
                "CROSSFADE_CANCEL_GRACE_SECONDS": "0.5",
            },
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def lease(platform: FakePlatform, run_id: str) -> FakeRun:
    """Put a run into the development queue."""
    run = FakeRun()
    with platform.changed:
        platform.dev_runs[run_id] = run
        platform.dev_queue.append(run_id)
    return run


def test_runs_execute_here_and_reload_on_change(tmp_path: Path) -> None:
    """A run executes the code of the version it is leased with; a saved file is a new version."""
    platform = FakePlatform(environment_type="DEVELOPMENT")
    write_task(tmp_path, ANSWER.format(answer=1))
    with dev(platform, tmp_path) as process:
        platform.until(lambda: len(platform.dev_workers) == 1)
        first = lease(platform, "run_1")
        platform.until(lambda: first.completions)
        write_task(tmp_path, ANSWER.format(answer=22))
        platform.until(lambda: len(platform.dev_workers) == 2)
        second = lease(platform, "run_2")
        platform.until(lambda: second.completions)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert [first.completions[0]["output"], second.completions[0]["output"]] == ["1", "22"]
    assert platform.dev_workers[0]["localOnly"] is True


def test_a_broken_change_keeps_the_earlier_version(tmp_path: Path) -> None:
    """A file that cannot be imported is told, and the session goes on with what it had."""
    platform = FakePlatform(environment_type="DEVELOPMENT")
    write_task(tmp_path, ANSWER.format(answer=1))
    with dev(platform, tmp_path) as process:
        platform.until(lambda: len(platform.dev_workers) == 1)
        write_task(tmp_path, "def broken(:")
        assert process.stderr is not None
        for line in process.stderr:
            if "not reloaded" in line:
                break
        run = lease(platform, "run_1")
        platform.until(lambda: run.completions)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert run.completions[0]["output"] == "1"
    assert len(platform.dev_workers) == 1


def test_ctrl_c_cancels_what_executes(tmp_path: Path) -> None:
    """Ctrl-C cancels the runs through the platform, waits for them, and ends with 0."""
    platform = FakePlatform(environment_type="DEVELOPMENT")
    write_task(tmp_path, "@task\ndef main(payload):\n    print('began')\n    time.sleep(60)\n")
    with dev(platform, tmp_path) as process:
        platform.until(lambda: len(platform.dev_workers) == 1)
        run = lease(platform, "run_1")
        platform.until(lambda: run.texts() == ["began"])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert run.completions[0]["error"]["code"] == "TASK_RUN_CANCELLED"


def test_a_runner_that_dies_is_reported(tmp_path: Path) -> None:
    """A process that ends without a result fails its run with the cause."""
    platform = FakePlatform(environment_type="DEVELOPMENT")
    write_task(tmp_path, "@task\ndef main(payload):\n    os._exit(9)\n")
    with dev(platform, tmp_path) as process:
        platform.until(lambda: len(platform.dev_workers) == 1)
        run = lease(platform, "run_1")
        platform.until(lambda: run.completions)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    error = run.completions[0]["error"]
    assert error["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    assert "exit status 9" in error["message"]


def test_other_keys_are_refused(tmp_path: Path) -> None:
    """Only a development key works, and nothing is sent with another one."""
    platform = FakePlatform()
    write_task(tmp_path, ANSWER.format(answer=1))
    with dev(platform, tmp_path, key="tr_prod_x") as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "development keys only" in said
    assert json.dumps(platform.asked) == "[]"
