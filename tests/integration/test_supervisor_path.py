"""The path of a run through a real supervisor: leased, started, relayed, completed, gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.fakes.supervisor_fixtures import platform, shared_dir, start_supervisor, uid_base
from tests.fakes.supervisor_process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform

__all__ = ["platform", "shared_dir", "start_supervisor", "uid_base"]


def test_leased_run_is_executed_and_completed(
    platform: FakePlatform, start_supervisor: Callable[..., SupervisorProcess]
) -> None:
    """A queued run is leased, its code runs in a workload, and its output reaches the platform."""
    supervisor = start_supervisor("result['attempt'] = started['execution']['attempt']['number']")
    run = platform.add_run("one")
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)
    assert json.loads(run.completions[0]["output"]) == {"attempt": 1}
    assert run.runners == [f"runner-{run.id.removeprefix('run_')}-1"]
    eventually(lambda: bool(supervisor.events("workload.exited")))
    assert list((supervisor.workspace / "runs").iterdir()) == []
