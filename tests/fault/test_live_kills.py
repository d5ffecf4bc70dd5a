"""Any process of a running stack may be killed at any moment, and no run is lost."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import psutil
import psycopg
import pytest

from tests.fault.chaos.callers import Callers
from tests.fault.chaos.storm import CONTAINERS, MARKING, Trigger
from tests.fault.chaos.verdict import judge
from tests.live import SUPERVISOR
from tests.servers import wait_until
from tests.sizes import sized

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.live import LiveStack

LONG_S = 90.0
ROUNDS = sized(1, full=5)  # in which each process is killed once
BURST_S = 2.0
BURST = 6  # runs that are triggered while a process is killed
_numbers = itertools.count(100_000)  # no storm counts so far: a number is a request's key


def appending(file: Path, *, sleep_ms: int) -> dict[str, object]:
    """Give the payload of a run that leaves a line per attempt and then sleeps."""
    return {"file": str(file), "token": "t", "sleepMs": sleep_ms}


def lines_of(file: Path) -> Counter[str]:
    """Count the lines that attempts have left so far."""
    return Counter(file.read_text().splitlines() if file.exists() else [])


def burst(file: Path) -> list[Trigger]:
    """Give runs that are triggered one after the other while something is killed."""
    return [
        Trigger(
            at_s=BURST_S * place / BURST,
            task=MARKING,
            payload={**appending(file, sleep_ms=0), "number": next(_numbers)},
            region=CONTAINERS,
        )
        for place in range(BURST)
    ]


class Steps(NamedTuple):
    """Runs that stand at the steps of a run's life at one moment."""

    queued: str
    delayed: str
    executing: str
    retrying: str
    canceled: str


@contextmanager
def runs_at_each_step(stack: LiveStack, file: Path) -> Generator[Steps, None, None]:
    """Give runs of which each stands at another step; the queued one may go on after the block."""
    set_paused(stack, "hello-world", action="pause")
    executing = stack.trigger(MARKING, appending(file, sleep_ms=2000))
    canceled = stack.trigger(MARKING, appending(file, sleep_ms=60_000))
    wait_until(lambda: lines_of(file).total() == 2, timeout_s=90, what="both attempts began")
    steps = Steps(
        queued=stack.trigger("hello-world", {"name": "Ada"}),
        delayed=stack.trigger(MARKING, appending(file, sleep_ms=0), delay="2s"),
        executing=executing,
        retrying=stack.trigger("flaky"),
        canceled=canceled,
    )
    stack.ask("POST", f"/api/v2/runs/{canceled}/cancel", {})
    try:
        yield steps
    finally:
        set_paused(stack, "hello-world", action="resume")


def set_paused(stack: LiveStack, task: str, *, action: str) -> None:
    """Pause or resume the queue of a task."""
    stack.ask("POST", f"/api/v1/queues/{task}/pause", {"type": "task", "action": action})


@pytest.mark.parametrize("process", [SUPERVISOR, "web", "worker", "beat", "valkey", "postgres"])
@pytest.mark.fault(
    kills="container supervisor, web, worker, beat, Valkey, PostgreSQL: each alone",
    step="triggering, queued, delayed, executing, retrying and canceled at once",
    expects="each run ends as it would have, in its first attempt unless its workload died too",
)
def test_runs_at_each_step_survive(live_stack: LiveStack, shared_file: Path, process: str) -> None:
    """Whichever process is killed: no run is lost, none is executed twice, each ends in its way.

    Those who trigger meanwhile repeat what was not answered. A run whose supervisor died is tried
    again.
    """
    callers = Callers(live_stack)
    with runs_at_each_step(live_stack, shared_file) as steps, ThreadPoolExecutor(1) as pool:
        triggering = pool.submit(callers.trigger_all, burst(shared_file), began_s=time.monotonic())
        live_stack.kill(process)
        triggering.result(timeout=LONG_S)
        assert live_stack.run(steps.queued)["status"] == "QUEUED"
    triggered = callers.read_final(timeout_s=LONG_S)
    runs = {
        step: live_stack.wait_run(one, timeout_s=LONG_S) for step, one in steps._asdict().items()
    }
    statuses = {step: run["status"] for step, run in runs.items()}
    canceled = statuses.pop("canceled")
    assert (canceled, set(statuses.values())) == ("CANCELED", {"COMPLETED"})
    assert runs["executing"]["attemptCount"] == (2 if process == SUPERVISOR else 1)
    assert [run["status"] for run in triggered.values()] == ["COMPLETED"] * BURST
    lines = lines_of(shared_file)
    marks = [line for line in lines.elements() if line.split()[0] in triggered]
    assert judge(callers.acknowledged, triggered, marks)[:5] == ([], [], [], [], [])
    assert set(lines.values()) == {1}


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


@pytest.mark.long
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
