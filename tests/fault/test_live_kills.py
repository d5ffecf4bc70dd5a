"""Any process of a running stack may be killed at any moment, and no run is lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from tests.live import SUPERVISOR
from tests.servers import wait_until
from tests.sizes import sized

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import LiveStack

LONG_S = 90.0
ROUNDS = sized(1, full=5)  # in which each process is killed once


def appending(file: Path, *, sleep_ms: int) -> dict[str, object]:
    """Give the payload of a run that leaves a line per attempt and then sleeps."""
    return {"file": str(file), "token": "t", "sleepMs": sleep_ms}


def lines_of(file: Path) -> Counter[str]:
    """Count the lines that attempts have left so far."""
    return Counter(file.read_text().splitlines() if file.exists() else [])


@pytest.mark.fault(
    kills="container supervisor",
    step="executing",
    expects="the next attempt executes it; no attempt begins twice",
)
def test_run_survives_its_supervisor(live_stack: LiveStack, shared_file: Path) -> None:
    """A run whose supervisor was killed is tried again, and no attempt begins twice."""
    run_id = live_stack.trigger("chaos-append", appending(shared_file, sleep_ms=2000))
    wait_until(lambda: lines_of(shared_file).total() == 1, timeout_s=90, what="an attempt began")
    live_stack.kill(SUPERVISOR)
    run = live_stack.wait_run(run_id, timeout_s=LONG_S)
    assert (run["status"], run["attemptCount"]) == ("COMPLETED", 2)
    assert lines_of(shared_file) == {f"{run_id} 1 t": 1, f"{run_id} 2 t": 1}


@pytest.mark.parametrize("process", ["web", "worker", "beat"])
@pytest.mark.fault(
    kills="web, worker, beat: each alone",
    step="executing",
    expects="the run completes, in its first attempt unless the lease ran out meanwhile",
)
def test_executing_run_survives(live_stack: LiveStack, shared_file: Path, process: str) -> None:
    """A run that executes while a process of the platform is killed completes.

    It does so in its first attempt unless the process stays away for longer than a lease holds.
    """
    run_id = live_stack.trigger("chaos-append", appending(shared_file, sleep_ms=2000))
    wait_until(lambda: lines_of(shared_file).total() == 1, timeout_s=90, what="an attempt began")
    live_stack.kill(process)
    run = live_stack.wait_run(run_id, timeout_s=LONG_S)
    assert run["status"] == "COMPLETED"
    attempts = range(1, run["attemptCount"] + 1)
    assert lines_of(shared_file) == {f"{run_id} {number} t": 1 for number in attempts}


@pytest.mark.long
@pytest.mark.fault(
    kills="web stands still for longer than a lease",
    step="executing",
    expects="the workload that could not be heard completes its first attempt",
)
def test_executing_run_outlives_a_long_outage(live_stack: LiveStack, shared_file: Path) -> None:
    """A workload that could not be heard for longer than its lease lasts completes all the same.

    The web process stands still, everything else goes on: also what takes back leases that ran out.
    """
    run_id = live_stack.trigger("chaos-append", appending(shared_file, sleep_ms=30_000))
    wait_until(lambda: lines_of(shared_file).total() == 1, timeout_s=90, what="an attempt began")
    family = [psutil.Process(live_stack.pid("web"))]
    family += family[0].children(recursive=True)
    for process in family:
        process.suspend()
    try:
        with psycopg.connect(live_stack.database_url, autocommit=True) as database:
            ran_out = "SELECT due_at < now() - interval '3 s' FROM runs_lease WHERE run_id = %s"
            wait_until(
                lambda: database.execute(ran_out, [run_id]).fetchone() == (True,),
                timeout_s=60,
                what="the lease ran out",
            )
    finally:
        for process in family:
            process.resume()
    run = live_stack.wait_run(run_id, timeout_s=LONG_S)
    assert (run["status"], run["attemptCount"]) == ("COMPLETED", 1)
    assert lines_of(shared_file) == {f"{run_id} 1 t": 1}


@pytest.mark.fault(
    kills="beat and worker",
    step="delayed",
    expects="the run starts when they are back",
)
def test_delayed_run_survives_what_drives_it(live_stack: LiveStack, shared_file: Path) -> None:
    """A delayed run still starts when beat and worker are killed while it waits."""
    run_id = live_stack.trigger("chaos-append", appending(shared_file, sleep_ms=0), delay="2s")
    live_stack.kill("beat")
    live_stack.kill("worker")
    assert live_stack.wait_run(run_id, timeout_s=LONG_S)["status"] == "COMPLETED"
    assert lines_of(shared_file) == {f"{run_id} 1 t": 1}


@pytest.mark.fault(
    kills="supervisor, beat, web, worker: in turn",
    step="queued, leased and executing",
    expects="all complete, no attempt begins twice",
)
def test_no_acknowledged_run_is_lost_while_all_are_killed(
    live_stack: LiveStack, shared_file: Path
) -> None:
    """Runs triggered while every process is killed in turn all complete; no attempt is doubled."""
    ids = []
    for process in (SUPERVISOR, "beat", "web", "worker") * ROUNDS:
        ids += [
            live_stack.trigger("chaos-append", appending(shared_file, sleep_ms=300))
            for _ in range(4)
        ]
        live_stack.kill(process)
    for run_id in ids:
        assert live_stack.wait_run(run_id, timeout_s=LONG_S)["status"] == "COMPLETED"
    lines = lines_of(shared_file)
    assert {line.split()[0] for line in lines} == set(ids)
    assert set(lines.values()) == {1}
