"""The compute path with its processes killed: nothing works on unseen, and no run is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.fakes.gateway_fixtures import gateway, start_gateway, through
from tests.fakes.supervisor_fixtures import platform, shared_dir, start_supervisor, uid_base
from tests.fakes.supervisor_process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.gateway_process import GatewayProcess
    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform

    Start = Callable[..., SupervisorProcess]

__all__ = ["gateway", "platform", "shared_dir", "start_gateway", "start_supervisor", "uid_base"]

WAIT = "import time; time.sleep(60)"


def children_of(gateway: GatewayProcess) -> list[psutil.Process]:
    """Give the processes of a gateway's instances."""
    return psutil.Process(gateway.pid).children(recursive=True)


def is_dead(process: psutil.Process) -> bool:
    """Say whether a process has ended."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.fault(
    kills="gateway",
    step="executing",
    expects="its instances die with it, the attempt is reported as failed once it is back",
)
def test_killed_gateway_costs_an_attempt_and_no_run(
    platform: FakePlatform, start_supervisor: Start, gateway: GatewayProcess
) -> None:
    """Its instances die with it; the supervisor finds out, reports the attempt, and goes on."""
    supervisor = start_supervisor(WAIT, **through(gateway.url))
    run = platform.add_run("orphaned")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    instances = children_of(gateway)
    gateway.kill()
    eventually(lambda: all(map(is_dead, instances)))
    assert not run.completions  # a gateway that is away is no end of anything
    gateway.start()
    eventually(lambda: bool(run.completions), what=supervisor.log_text)
    error = run.completions[0]["error"]
    assert error["code"] == "TASK_PROCESS_SIGTERM"
    assert "is gone" in error["message"]
    after = platform.add_run("after")
    eventually(lambda: after.status == "EXECUTING", what=supervisor.log_text)


@pytest.mark.fault(
    kills="compute supervisor",
    step="executing",
    expects="its instances are ended by its next start, those of others are not",
)
def test_killed_supervisor_leaves_nothing_to_the_next(
    platform: FakePlatform, start_supervisor: Start, gateway: GatewayProcess
) -> None:
    """Instances outlive their supervisor's death, and end when it starts again."""
    first = start_supervisor(WAIT, **through(gateway.url))
    runs = [platform.add_run(name) for name in ("left1", "left2")]
    eventually(lambda: all(run.status == "EXECUTING" for run in runs), what=first.log_text)
    first.kill()
    assert len(gateway.listed()) == 2
    instances = children_of(gateway)
    gateway.create("not-mine")
    second = start_supervisor(WAIT, **through(gateway.url))
    eventually(lambda: list(gateway.listed()) == ["not-mine"], what=second.log_text)
    assert all(map(is_dead, instances))
    assert len(second.events("instances.left_over")[0]["names"]) == 2


def test_hung_runner_is_ended_when_its_run_is_over(
    platform: FakePlatform, start_supervisor: Start, gateway: GatewayProcess
) -> None:
    """An instance that stays after completing its attempt is deleted after its grace."""
    script = (
        "import json\n"
        "completion = {'ok': True, 'id': api.run, 'output': '{}'}\n"
        "api.snapshot_call('attempts/complete', {'completion': completion})\n" + WAIT
    )
    short = {"COMPUTE_INSTANCE_FINISH_GRACE_SECONDS": "1"}
    supervisor = start_supervisor(script, **through(gateway.url), **short)
    run = platform.add_run("hangs")
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)
    assert len(gateway.listed()) == 1
    eventually(lambda: gateway.listed() == {}, what=supervisor.log_text)
    eventually(lambda: bool(supervisor.events("workload.exited")))
    assert len(run.completions) == 1
