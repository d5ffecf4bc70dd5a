"""The tasks the benchmarks run."""

import time
from typing import Any

from crossfade import task


@task(id="bench-start")
def bench_start() -> dict[str, Any]:
    """Tell when this function began, by the clock of the machine."""
    return {"startedAtNs": time.time_ns()}


@task(id="bench-wait")
def bench_wait(payload: dict[str, Any]) -> None:
    """Do nothing for `{"seconds": 2}`."""
    time.sleep(payload["seconds"])
