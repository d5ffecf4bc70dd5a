"""A storm over a whole stack of its own, its PostgreSQL and Valkey included."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fault.chaos.callers import Callers
from tests.fault.chaos.storm import KILLED, MARKING, plan_storm
from tests.fault.chaos.verdict import judge
from tests.live import LiveStack, own_stack
from tests.servers import wait_until
from tests.sizes import IS_LONG, sized

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from tests.fault.chaos.storm import Kill
    from tests.servers import Servers

RUNS = sized(30, full=2_000)
LASTS_S = sized(6, full=120)
KILLS = sized(len(KILLED), full=6 * len(KILLED))
SETTLES_S = sized(60, full=900)
SEED = int(time.time()) if IS_LONG else 4


@pytest.fixture(scope="module")
def stack(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Generator[LiveStack, None, None]:
    """Give a stack whose servers are its own."""
    with own_stack(servers, tmp_path_factory.mktemp("chaos-stack")) as running:
        yield running


@pytest.mark.fault(
    kills="web, worker, beat, both supervisors, gateway, Valkey, PostgreSQL",
    step="any: at random times, from a seed",
    expects="no acknowledged run is lost, no attempt begins twice, all are final",
)
def test_nothing_is_lost_in_a_storm(stack: LiveStack) -> None:
    """Whatever is killed whenever, acknowledged runs end and no attempt of theirs begins twice."""
    stack.set_flag("acme", "hasComputeAccess", value=True)
    folder = Path(tempfile.mkdtemp(prefix="shared-", dir=stack.state))
    folder.chmod(0o777)
    file = folder / "marks"
    storm = plan_storm(SEED, runs=RUNS, lasts_s=LASTS_S, kills=KILLS, file=str(file))
    callers, began_s = Callers(stack), time.monotonic()
    killer = threading.Thread(target=kill_all, args=(stack, storm.kills, began_s))
    killer.start()
    callers.trigger_all(storm.triggers, began_s=began_s)
    killer.join()
    runs = callers.read_final(timeout_s=SETTLES_S)
    verdict = judge(callers.acknowledged, runs, file.read_text().splitlines())
    took_s = time.monotonic() - began_s
    sys.stdout.write(
        f"storm {SEED}: {len(runs)} runs, {KILLS} kills, {took_s:.0f} s: {verdict.attempts} marked"
        f" attempts, {dict(verdict.statuses)}\n"
    )
    assert len(callers.acknowledged) == RUNS
    assert verdict[:4] == ([], [], [], []), f"seed {SEED}: {verdict}"


@pytest.mark.parametrize("server", ["valkey", "postgres"])
@pytest.mark.fault(
    kills="Valkey, PostgreSQL: each alone",
    step="queued, delayed and executing at once",
    expects="every run completes; what executes does so in its first attempt",
)
def test_runs_survive_the_death_of_a_server(stack: LiveStack, server: str) -> None:
    """One that executes, one that waits behind it and one whose delay runs all complete."""
    folder = Path(tempfile.mkdtemp(prefix="shared-", dir=stack.state))
    folder.chmod(0o777)
    file = folder / "marks"
    payload = {"file": str(file), "token": "t", "sleepMs": 2000}
    narrow = {"name": f"narrow-{server}", "concurrencyLimit": 1}
    executing = stack.trigger(MARKING, payload, queue=narrow)
    wait_until(file.exists, timeout_s=90, what="an attempt began")
    queued = stack.trigger(MARKING, payload, queue=narrow)
    delayed = stack.trigger(MARKING, payload, delay="2s")
    stack.kill(server)
    runs = [stack.wait_run(run_id, timeout_s=90) for run_id in (executing, queued, delayed)]
    assert [run["status"] for run in runs] == ["COMPLETED"] * 3
    assert runs[0]["attemptCount"] == 1
    lines = file.read_text().splitlines()
    assert len(lines) == len(set(lines))


def kill_all(stack: LiveStack, kills: Iterable[Kill], began_s: float) -> None:
    """Kill each at its time, whatever it is doing; one that is dead at that moment stays so."""
    never = threading.Event()
    for kill in kills:
        never.wait(max(0.0, began_s + kill.at_s - time.monotonic()))
        try:
            os.kill(stack.pid(kill.process), signal.SIGKILL)
        except ProcessLookupError:
            continue
