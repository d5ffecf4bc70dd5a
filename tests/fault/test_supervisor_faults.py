"""What a supervisor does when something goes wrong on the wire, in the platform or in a workload."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

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

    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform, FakeRun

    Start = Callable[..., SupervisorProcess]

__all__ = ["platform", "shared_dir", "start_supervisor", "uid_base"]

WAIT = "import time; time.sleep(60)"


def finished(run: FakeRun, supervisor: SupervisorProcess) -> None:
    """Wait until the platform sees the run's end."""
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)


def error_of(run: FakeRun) -> dict[str, Any]:
    """Give the error of the last completion."""
    error: dict[str, Any] = run.completions[-1]["error"]
    return error


def runner_of(run: FakeRun) -> psutil.Process | None:
    """Give the process that executes the run."""
    name = f"runner-{run.id.removeprefix('run_')}-{run.dispatch}"
    for process in psutil.process_iter():
        if process.is_running() and name in _environment(process):
            return process
    return None


def _environment(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return []


# -- answers that are lost ------------------------------------------------------------------------


@pytest.mark.fault(
    kills="an answer of the platform is lost",
    step="queued to leased",
    expects="the same request key gets the same lease: one dispatch",
)
def test_lost_lease_is_given_again(platform: FakePlatform, start_supervisor: Start) -> None:
    """A dequeue answer lost on the wire is asked for again with the same key: one dispatch only."""
    platform.arm("dequeue", "lose")
    run = platform.add_run("lost")
    supervisor = start_supervisor()
    finished(run, supervisor)
    assert run.dispatch == 1
    eventually(lambda: repeated(platform, "dequeue"))


def repeated(platform: FakePlatform, call: str) -> bool:
    """Tell whether two calls carried one request key."""
    keys = [headers["x-trigger-request-idempotency-key"] for headers, _ in platform.calls_of(call)]
    return len(keys) > len(set(keys))


@pytest.mark.fault(
    kills="an answer of the platform is lost",
    step="leased to executing",
    expects="the repeat gets the same answer: one attempt",
)
def test_lost_start_is_answered_again(platform: FakePlatform, start_supervisor: Start) -> None:
    """A start whose answer was lost is repeated with the runner's key, so one attempt starts."""
    platform.arm("start", "lose")
    supervisor = start_supervisor()
    run = platform.add_run("start")
    finished(run, supervisor)
    assert run.attempt == 1
    assert run.completions[0]["ok"] is True
    keys = {
        headers["x-trigger-request-idempotency-key"] for headers, _ in platform.calls_of("start")
    }
    assert len(platform.calls_of("start")) == 2
    assert len(keys) == 1


@pytest.mark.fault(
    kills="an answer of the platform is lost",
    step="executing to ended",
    expects="the repeat changes nothing, and nothing fails the run",
)
def test_lost_completion_is_final(platform: FakePlatform, start_supervisor: Start) -> None:
    """A completion whose answer was lost meets 409 when repeated, and nothing fails the run."""
    platform.arm("complete", "lose")
    supervisor = start_supervisor()
    run = platform.add_run("done")
    finished(run, supervisor)
    eventually(lambda: bool(supervisor.events("workload.exited")))
    assert [completion["ok"] for completion in run.completions] == [True]


@pytest.mark.fault(
    kills="web is away when a supervisor starts",
    step="before any lease",
    expects="it waits and then serves every group",
)
def test_platform_that_is_down_at_first(platform: FakePlatform, start_supervisor: Start) -> None:
    """A supervisor that starts before the platform waits for it and then serves every group."""
    for _ in range(3):
        platform.arm("connect", "refuse", status=503, headers={"x-should-retry": "false"})
    supervisor = start_supervisor()
    run = platform.add_run("late", group="group-b")
    finished(run, supervisor)
    assert len(supervisor.events("group.connect_failed")) == 3


# -- stale and refused ----------------------------------------------------------------------------


@pytest.mark.fault(
    kills="runner is told that its run belongs to another",
    step="leased to executing",
    expects="it ends quietly",
)
def test_stale_start_is_final(platform: FakePlatform, start_supervisor: Start) -> None:
    """A runner that is told 409 ends quietly: its run is somebody else's, nothing is reported."""
    headers = {"x-should-retry": "false"}
    platform.arm("start", "refuse", status=409, headers=headers)
    supervisor = start_supervisor()
    run = platform.add_run("stale")
    eventually(lambda: bool(supervisor.events("workload.exited")), what=supervisor.log_text)
    assert supervisor.events("workload.exited")[0]["phase"] == "done"
    assert len(platform.calls_of("start")) == 1
    assert run.failures == []
    assert run.completions == []


def test_immediate_retry_runs_in_the_same_workload(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """After RETRY_IMMEDIATELY the next attempt starts in the same process, seen as executing."""
    supervisor = start_supervisor()
    run = platform.add_run("again", retries=2)
    finished(run, supervisor)
    assert run.attempt == 3
    assert run.dispatch == 1
    assert len(set(run.runners)) == 1


# -- workloads that die ---------------------------------------------------------------------------


@pytest.mark.fault(
    kills="runner",
    step="leased",
    expects="the lease is handed back at once",
)
def test_exit_before_start_hands_the_lease_back(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """A workload that ends before its attempt started is a failed create, reported at once."""
    platform.arm("start", "refuse", status=422, headers={"x-should-retry": "false"})
    supervisor = start_supervisor()
    run = platform.add_run("early")
    finished(run, supervisor)
    assert run.failures[0]["reason"] == "create_failed"
    assert run.failures[0]["permanent"] is False
    assert run.dispatch == 2


def test_exit_code_is_reported(platform: FakePlatform, start_supervisor: Start) -> None:
    """A process that exits in the middle of its attempt fails it with code and last words."""
    supervisor = start_supervisor("import os\nprint('bye', flush=True)\nos._exit(3)")
    run = platform.add_run("exit")
    finished(run, supervisor)
    assert error_of(run)["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    assert "exited with code 3: bye" in error_of(run)["message"]


def test_crash_is_reported(platform: FakePlatform, start_supervisor: Start) -> None:
    """A segmentation fault fails the attempt with its own code."""
    supervisor = start_supervisor("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    run = platform.add_run("crash")
    finished(run, supervisor)
    assert error_of(run)["code"] == "TASK_PROCESS_SIGSEGV"


@pytest.mark.fault(
    kills="runner",
    step="executing",
    expects="the attempt fails at once, without waiting for a stall",
)
def test_killed_workload_is_reported(platform: FakePlatform, start_supervisor: Start) -> None:
    """A workload killed from outside fails its attempt at once, without waiting for a stall."""
    supervisor = start_supervisor(WAIT)
    run = platform.add_run("killed")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    runner = runner_of(run)
    assert runner is not None
    runner.kill()
    finished(run, supervisor)
    assert error_of(run)["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    assert "SIGKILL" in error_of(run)["message"]


def test_death_while_canceling_completes_the_newer_snapshot(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """A workload that dies after its run moved on within the attempt completes where it is now."""
    supervisor = start_supervisor(WAIT)
    run = platform.add_run("cancel")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    run.move("PENDING_CANCEL")
    runner = runner_of(run)
    assert runner is not None
    runner.kill()
    finished(run, supervisor)
    assert len(platform.calls_of("latest")) == 1


def test_dead_workload_does_not_fail_a_later_attempt(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """An attempt that belongs to another workload by now is left alone."""
    supervisor = start_supervisor(WAIT)
    run = platform.add_run("other")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    run.attempt += 1
    run.move("EXECUTING")
    runner = runner_of(run)
    assert runner is not None
    runner.kill()
    eventually(lambda: bool(supervisor.events("attempt.completed_for_dead_workload")))
    assert run.completions == []
    assert run.status == "EXECUTING"


def test_memory_limit_is_kept_and_reported(platform: FakePlatform, start_supervisor: Start) -> None:
    """A task that takes more memory than its preset fails with the code for it."""
    supervisor = start_supervisor("hold = []\nwhile True:\n    hold.append(bytearray(1 << 24))")
    run = platform.add_run("memory", memory=0.25, cpu=0.25)
    finished(run, supervisor)
    assert error_of(run)["code"] == "TASK_PROCESS_OOM_KILLED"


def test_what_a_run_started_dies_with_it(platform: FakePlatform, start_supervisor: Start) -> None:
    """A process that a task left behind is killed when the run ends."""
    supervisor = start_supervisor(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "result['pid'] = child.pid"
    )
    run = platform.add_run("child")
    finished(run, supervisor)
    eventually(lambda: runner_of(run) is None)


# -- codes and packages ---------------------------------------------------------------------------


def test_missing_image_ends_the_run(platform: FakePlatform, start_supervisor: Start) -> None:
    """A deployment with nothing to run fails with a clear reason that no repeat can help."""
    supervisor = start_supervisor()
    nothing = platform.add_run("nothing", image=None)
    unknown = platform.add_run("unknown", image="crossfade/proj_x:9-def")
    finished(nothing, supervisor)
    finished(unknown, supervisor)
    for run in (nothing, unknown):
        assert run.failures[0]["reason"] == "no_image"
        assert run.failures[0]["permanent"] is True


def test_wrong_digest_is_refused(platform: FakePlatform, start_supervisor: Start) -> None:
    """An artifact whose bytes are not those of its digest is never executed."""
    supervisor = start_supervisor()
    platform.add_artifact("bad", platform.artifacts[IMAGE][0], digest="0" * 64)
    run = platform.add_run("digest", image="bad")
    finished(run, supervisor)
    assert run.attempt == 0
    assert run.failures[0]["reason"] == "create_failed"
    assert "digest" in run.failures[0]["message"]


@pytest.mark.fault(
    kills="a create fails",
    step="leased",
    expects="handed back at once, redelivered, succeeds",
)
def test_failed_create_is_tried_again(platform: FakePlatform, start_supervisor: Start) -> None:
    """A create that fails once is reported at once and the redelivered run succeeds."""
    platform.arm("artifact", "refuse", status=503)
    supervisor = start_supervisor()
    run = platform.add_run("twice")
    finished(run, supervisor)
    assert [failure["reason"] for failure in run.failures] == ["create_failed"]
    assert run.completions[0]["ok"] is True
    assert run.dispatch == 2


# -- the supervisor's own end ---------------------------------------------------------------------


@pytest.mark.fault(
    kills="container supervisor",
    step="executing",
    expects="no workload works on unseen, the next start clears its folders",
)
def test_killed_supervisor_takes_its_workloads_along(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """After kill -9 no workload goes on working, and the next start clears the folders."""
    supervisor = start_supervisor(WAIT)
    run = platform.add_run("orphan")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    runner = runner_of(run)
    assert runner is not None
    supervisor.kill()
    eventually(lambda: not runner.is_running() or runner.status() == psutil.STATUS_ZOMBIE)
    again = start_supervisor(WAIT)
    assert again.events("workloads.prepared")[0]["cleared"] == [runner_name(run)]


@pytest.mark.fault(
    kills="container supervisor",
    step="executing, with a process that a task detached",
    expects="the next start ends it",
)
def test_next_start_kills_what_escaped(platform: FakePlatform, start_supervisor: Start) -> None:
    """A process a task had detached survives kill -9 of the supervisor only until the next start."""
    supervisor = start_supervisor(
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "subprocess.Popen(sleep, start_new_session=True)\n" + WAIT
    )
    run = platform.add_run("escaped")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    runner = runner_of(run)
    assert runner is not None
    eventually(lambda: bool(runner.children()))
    escaped = runner.children()[0]
    supervisor.kill()
    eventually(lambda: not runner.is_running())
    assert escaped.is_running()
    start_supervisor(WAIT)
    eventually(lambda: not escaped.is_running() or escaped.status() == psutil.STATUS_ZOMBIE)


def test_drain_lets_running_work_finish(platform: FakePlatform, start_supervisor: Start) -> None:
    """SIGTERM stops leasing and waits for the attempt that runs; later runs stay queued."""
    supervisor = start_supervisor("import time; time.sleep(1)")
    run = platform.add_run("last")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    assert supervisor.stop() == 0
    assert run.completions[0]["ok"] is True
    assert supervisor.events("supervisor.stopped")


@pytest.mark.fault(
    kills="container supervisor is told to stop",
    step="executing for longer than the drain",
    expects="the attempt is reported and tried again",
)
def test_drain_deadline_ends_and_reports(platform: FakePlatform, start_supervisor: Start) -> None:
    """Work that outlasts the drain is ended and its attempt failed in a way that is retried."""
    supervisor = start_supervisor(WAIT, CROSSFADE_DRAIN_TIMEOUT_SECONDS="0.2")
    run = platform.add_run("long")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    assert supervisor.stop() == 0
    assert error_of(run)["code"] == "TASK_PROCESS_SIGTERM"


def test_second_signal_does_not_wait(platform: FakePlatform, start_supervisor: Start) -> None:
    """A second SIGTERM ends the drain at once."""
    supervisor = start_supervisor(WAIT, CROSSFADE_DRAIN_TIMEOUT_SECONDS="600")
    run = platform.add_run("hurry")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    assert supervisor.process is not None
    supervisor.process.send_signal(signal.SIGTERM)
    eventually(lambda: bool(supervisor.events("supervisor.draining")))
    assert supervisor.stop() == 0


def test_one_supervisor_per_folder(platform: FakePlatform, start_supervisor: Start) -> None:
    """A second supervisor on the same folder says so and ends, and harms nothing."""
    first = start_supervisor(WAIT)
    second = start_supervisor(WAIT, ready=False)
    assert second.process is not None
    assert second.process.wait(60) == 1
    assert "another process" in second.log_text
    assert first.process is not None
    assert first.process.poll() is None


def runner_name(run: FakeRun) -> str:
    """Give the name of the run's latest workload."""
    return f"runner-{run.id.removeprefix('run_')}-{run.dispatch}"
