"""A task whose module imports what tasks that fetch something usually do."""

import asyncio
import time
from typing import Any

import httpx

from crossfade import task

CLIENT = (asyncio, httpx)  # what the import is for


@task(id="bench-fetching")
def bench_fetching() -> dict[str, Any]:
    """Tell when this function began, by the clock of the machine."""
    return {"startedAtNs": time.time_ns()}
