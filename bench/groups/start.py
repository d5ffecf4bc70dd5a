"""The group `start`: from an accepted trigger to the task's first line, everything cold.

The whole embedded stack runs, with its own supervisor and process workloads: each run waits for a
lease, has a process started for it, and that process imports the task's code.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.figures import median, percentile
from bench.product import Product, started_product
from bench.rows import Row, measured
from bench.stack import REPOSITORY
from bench.waiting import Unmeasurable
from crossfade import Client
from webapp.embedded.environment import Choices

RUNS = 60
WARM_UP = 3  # the first fetches the code
FIRST_LOOK_S = 0.3  # looking sooner would only take time from what is measured
LOOK_S = 0.1
RUN_S = 30.0
DEPLOY_S = 60
SETTLE_S = 3.0
WAIT_S = 4.0  # of the task whose process is looked at
STARTED_S = 2.0  # after so long it is asleep
SUPERVISOR = "supervisor-container"
NS_PER_MS = 1_000_000
BYTES_PER_MB = 1_000_000
READABLE = 0o755  # workloads of a stack that root starts run as other users


def measure(choices: Choices) -> list[Row]:
    """Measure the group. Raise `Unmeasurable` when a run does not end well."""
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as name:
        folder = Path(name)
        folder.chmod(READABLE)
        run = [sys.executable, "-m", "webapp.embedded", "run"]
        with started_product(run, REPOSITORY, folder, choices) as product:
            return _measure_on(product, choices)


def _measure_on(product: Product, choices: Choices) -> list[Row]:
    _deploy(product, choices)
    with product.client() as client:
        for _ in range(WARM_UP):
            _start_ms(client)
        starts = [_start_ms(client) for _ in range(RUNS)]
        runner_mb = _runner_mb(product, client)
    time.sleep(SETTLE_S)
    supervisor_mb = product.process(SUPERVISOR).memory_info().rss / BYTES_PER_MB
    how = (
        f"{RUNS} runs one after the other, trigger answered to first line of the task: lease, "
        "new process, import"
    )
    return [
        measured("start.cold_ms_p50", median(starts), note=how),
        measured("start.cold_ms_p99", percentile(starts, 99), note=f"the slowest of {RUNS}"),
        measured("supervisor.idle_rss_mb", supervisor_mb, note="resident set, no run under way"),
        measured(
            "runner.idle_rss_mb", runner_mb, note="resident sets of a workload whose task sleeps"
        ),
    ]


def _deploy(product: Product, choices: Choices) -> None:
    environment = {**choices.inherited, **product.variables()}
    subprocess.run(
        [sys.executable, "-m", "crossfade", "deploy", "bench/tasks.py"],
        cwd=REPOSITORY,
        env=environment,
        check=True,
        capture_output=True,
        timeout=DEPLOY_S,
    )


def _start_ms(client: Client) -> float:
    """Give the ms from the answer to a trigger to the first line of its task."""
    triggered = client.trigger("bench-start")
    accepted_ns = time.time_ns()
    time.sleep(FIRST_LOOK_S)
    run = client.wait(triggered.id, timeout_s=RUN_S, poll_s=LOOK_S)
    if not run.is_success:
        raise Unmeasurable(f"a run ended as {run.status}: {run.error}")
    return float((run.output["startedAtNs"] - accepted_ns) / NS_PER_MS)


def _runner_mb(product: Product, client: Client) -> float:
    """Give the resident sets of the processes of one run, added up."""
    supervisor = product.process(SUPERVISOR)
    before = {child.pid for child in supervisor.children(recursive=True)}
    triggered = client.trigger("bench-wait", {"seconds": WAIT_S})
    time.sleep(STARTED_S)
    total = 0
    for child in supervisor.children(recursive=True):
        try:
            total += 0 if child.pid in before else child.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it has just ended, so it is no part of the workload
    client.wait(triggered.id, timeout_s=RUN_S)
    if not total:
        raise Unmeasurable("the supervisor had no process for the run")
    return total / BYTES_PER_MB
