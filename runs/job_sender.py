"""Sending jobs to the broker on a thread of its own: who asks for one never waits for the broker.

A job goes out a moment later, when who asked for it has its answer: a worker that began at once
would take the processors from the answer. What is lost here, with the broker or with this process,
is found by a reconciler.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from kombu.exceptions import OperationalError

from ledger.forks import renew_after_fork

MOMENT_S: Final = 0.02

log = structlog.get_logger(__name__)


class JobSender:
    """Sends one job after the other."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Have a thread of this process; it starts with the first job."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="job-sender")
        self._resting = threading.Event()  # never set: it only waits

    def send(self, task: Any, *arguments: str) -> None:
        """Send a job of a Celery task soon."""
        self._thread.submit(self._send, task, arguments)

    def wait(self) -> None:
        """Wait until what was asked for so far is sent, or given up."""
        self._thread.submit(int).result()

    def _send(self, task: Any, arguments: tuple[str, ...]) -> None:
        self._resting.wait(MOMENT_S)
        try:
            task.delay(*arguments)
        except OperationalError as error:
            log.warning("job.unsent", job=task.name, error=str(error))
        except Exception:  # nobody waits for this thread's answer: the log is told
            log.exception("job.unsent", job=task.name)


SENDER: Final = JobSender()
"""Of this process."""
