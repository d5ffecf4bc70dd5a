"""A storm over the whole stack, its PostgreSQL and Valkey included."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.fault.chaos.callers import Callers
from tests.fault.chaos.storm import KILLED, plan_storm
from tests.fault.chaos.verdict import judge
from tests.sizes import IS_LONG, sized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.fault.chaos.storm import Kill
    from tests.live import LiveStack

RUNS = sized(30, full=2_000)
LASTS_S = sized(6, full=120)
KILLS = sized(len(KILLED), full=6 * len(KILLED))
SETTLES_S = sized(60, full=900)
SEED = int(time.time()) if IS_LONG else 4


@pytest.mark.fault(
    kills="web, worker, beat, both supervisors, gateway, Valkey, PostgreSQL",
    step="any: at random times, from a seed",
    expects="no acknowledged run is lost, no attempt begins twice, all are final",
)
def test_nothing_is_lost_in_a_storm(live_stack: LiveStack, shared_file: Path) -> None:
    """Whatever is killed whenever, acknowledged runs end and no attempt of theirs begins twice."""
    live_stack.set_flag("acme", "hasComputeAccess", value=True)
    storm = plan_storm(SEED, runs=RUNS, lasts_s=LASTS_S, kills=KILLS, file=str(shared_file))
    callers, began_s = Callers(live_stack), time.monotonic()
    killer = threading.Thread(target=kill_all, args=(live_stack, storm.kills, began_s))
    killer.start()
    callers.trigger_all(storm.triggers, began_s=began_s)
    killer.join()
    runs = callers.read_final(timeout_s=SETTLES_S)
    verdict = judge(callers.acknowledged, runs, shared_file.read_text().splitlines())
    took_s = time.monotonic() - began_s
    sys.stdout.write(
        f"storm {SEED}: {len(runs)} runs, {KILLS} kills, {took_s:.0f} s: {verdict.attempts} marked"
        f" attempts, {dict(verdict.statuses)}, not completed: {failures_of(runs)}\n"
    )
    assert len(callers.acknowledged) == RUNS
    assert verdict[:4] == ([], [], [], []), f"seed {SEED}: {verdict}"


def failures_of(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Count the runs that did not complete, by task."""
    return dict(Counter(run["taskIdentifier"] for run in runs.values() if not run["isSuccess"]))


def kill_all(stack: LiveStack, kills: Iterable[Kill], began_s: float) -> None:
    """Kill each at its time, whatever it is doing; one that is dead at that moment stays so."""
    never = threading.Event()
    for kill in kills:
        never.wait(max(0.0, began_s + kill.at_s - time.monotonic()))
        try:
            os.kill(stack.pid(kill.process), signal.SIGKILL)
        except ProcessLookupError:
            continue
