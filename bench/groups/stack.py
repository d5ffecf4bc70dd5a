"""The group `stack`: from a clone to a finished run, and what the idle stack takes of memory."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from bench.figures import median
from bench.product import Product, started_product
from bench.rows import Row, measured, unmeasured
from bench.stack import REPOSITORY
from bench.waiting import Unmeasurable
from webapp.embedded.environment import Choices

CLONE_S = 60
RUN_S = 60.0
POLL_S = 0.1
SETTLE_S = 10.0
SAMPLES = 3
BYTES_PER_MB = 1_000_000
READABLE = 0o755  # workloads of a stack that root starts run as other users


def measure(choices: Choices) -> list[Row]:
    """Measure the group. Raise `Unmeasurable` where there is no clone to be made."""
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as name:
        folder = Path(name)
        folder.chmod(READABLE)
        began = time.monotonic()
        _clone(folder / "clone")
        make = ["make", "--no-print-directory", "run"]
        with started_product(make, folder / "clone", folder, choices) as product:
            _first_run(product)
            ready_s = time.monotonic() - began
            idle = _idle_row(product)
    how = "clone, packages from the cache of this machine, servers, deploy, first run finished"
    return [measured("stack.ready_s", ready_s, note=how), idle]


def _clone(folder: Path) -> None:
    clone = ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(folder)]
    try:
        subprocess.run(clone, check=True, capture_output=True, text=True, timeout=CLONE_S)
    except FileNotFoundError as error:
        raise Unmeasurable("git is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Unmeasurable(f"this is no clone that can be cloned: {error.stderr}") from error


def _first_run(product: Product) -> None:
    with product.client() as client:
        triggered = client.trigger("hello-world", {"name": "Ada"})
        run = client.wait(triggered.id, timeout_s=RUN_S, poll_s=POLL_S)
    if not run.is_success:
        raise Unmeasurable(f"the first run ended as {run.status}: {run.error}")


def _idle_row(product: Product) -> Row:
    samples = []
    try:
        for _ in range(SAMPLES):
            time.sleep(SETTLE_S / SAMPLES)
            samples.append(_pss_bytes(product) / BYTES_PER_MB)
    except (psutil.AccessDenied, AttributeError) as error:
        return unmeasured("stack.idle_pss_mb", f"the system tells no proportional sizes: {error}")
    how = f"proportional set sizes of {len(product.processes())} processes, servers included"
    return measured("stack.idle_pss_mb", median(samples), note=how)


def _pss_bytes(product: Product) -> int:
    total = 0
    for process in product.processes():
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue  # a server's helper that came and went
    return total
