"""Wait for a process to get somewhere."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from webapp.embedded.steps import log_tail

POLL_S = 0.02


class Unmeasurable(Exception):
    """What is to be measured does not start or does not end; the message says why."""


def wait_until(
    holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, *, timeout_s: float
) -> None:
    """Return once the condition holds.

    Raise `Unmeasurable` with the end of the log when the process ended or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        if process.poll() is not None:
            raise Unmeasurable(f"{log.stem} ended with {process.returncode}: {log_tail(log)}")
        if time.monotonic() > deadline:
            raise Unmeasurable(f"{log.stem} was not ready in {timeout_s:g} s: {log_tail(log)}")
        time.sleep(POLL_S)
