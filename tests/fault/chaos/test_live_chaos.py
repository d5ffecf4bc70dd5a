"""A storm over the whole stack, its PostgreSQL and Valkey included."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.fault.chaos.callers import Callers
from tests.fault.chaos.storm import HOLDERS, KILLED, Size, plan_storm
from tests.fault.chaos.verdict import judge
from tests.sizes import IS_LONG, sized

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.fault.chaos.storm import Kill
    from tests.live import LiveStack

SMALL = Size(runs=30, triggered_in_s=6, kills=len(KILLED), killed_in_s=6)
# Many runs wait for minutes, and something dies every five seconds while they are worked off.
WIDE = Size(runs=2_000, triggered_in_s=120, kills=12 * len(KILLED), killed_in_s=480)
# Fewer runs, and only what takes attempts along when it dies, as often as it comes back in time.
AIMED = Size(runs=300, triggered_in_s=30, kills=36, killed_in_s=120, killed=HOLDERS)
SETTLES_S = sized(60, full=1_500)
SHOWN_OF_STEP = (
    "createdAt",
    "executionStatus",
    "attemptNumber",
    "description",
    "runnerId",
    "error",
)
SEED = int(time.time()) if IS_LONG else 4


@pytest.mark.fault(
    kills="web, worker, beat, both supervisors, gateway, Valkey, PostgreSQL",
    step="any: at random times, from a seed",
    expects="all acknowledged runs complete, no attempt begins twice",
)
@pytest.mark.parametrize("size", [WIDE, AIMED] if IS_LONG else [SMALL])
def test_all_runs_complete_in_a_storm(live_stack: LiveStack, shared_file: Path, size: Size) -> None:
    """Whatever is killed whenever, acknowledged runs complete and none of their attempts begins twice.

    A task that fails twice needs its third attempt: one that was lost with its worker is no try.
    """
    live_stack.set_flag("acme", "hasComputeAccess", value=True)
    storm = plan_storm(SEED, size, file=str(shared_file))
    callers, began_s = Callers(live_stack), time.monotonic()
    killer = threading.Thread(target=kill_all, args=(live_stack, storm.kills, began_s))
    killer.start()
    callers.trigger_all(storm.triggers, began_s=began_s)
    killer.join()
    runs = callers.read_final(timeout_s=SETTLES_S)
    verdict = judge(callers.acknowledged, runs, shared_file.read_text().splitlines())
    took_s = time.monotonic() - began_s
    sys.stdout.write(
        f"storm {SEED}: {len(runs)} runs, {size.kills} kills, {took_s:.0f} s: {verdict.attempts}"
        f" marked attempts, {dict(verdict.statuses)}\n"
    )
    stories = "\n".join(story_of(live_stack, run_id) for run_id in verdict.failed + verdict.lost)
    assert len(callers.acknowledged) == size.runs
    assert verdict[:5] == ([], [], [], [], []), f"seed {SEED}: {verdict}\n{stories}"


def story_of(stack: LiveStack, run_id: str) -> str:
    """Tell what became of a run, snapshot by snapshot, for whoever reads the failure."""
    told = stack.ask("GET", f"/admin/api/v1/runs/{run_id}", key=stack.admin_token)
    run = told["run"]
    steps = [" ".join(str(step.get(name)) for name in SHOWN_OF_STEP) for step in told["snapshots"]]
    first = f"{run_id} {run['taskIdentifier']} {run['status']} {run.get('error')}"
    return "\n  ".join([first, *steps])


def kill_all(stack: LiveStack, kills: Iterable[Kill], began_s: float) -> None:
    """Kill each at its time, whatever it is doing; one that is dead at that moment stays so."""
    never = threading.Event()
    for kill in kills:
        never.wait(max(0.0, began_s + kill.at_s - time.monotonic()))
        try:
            os.kill(stack.pid(kill.process), signal.SIGKILL)
        except ProcessLookupError:
            continue
