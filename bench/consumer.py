"""Takes runs as the engine does, from a database of its own.

    python -m bench.consumer WORKER_QUEUE WORKER_GROUP_ID

reads one number a line, leases so many runs, and answers with one line of JSON: how many there
were and how many seconds it took. Nothing is executed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import IO
from uuid import uuid4

import django

from bench.waiting import Unmeasurable

LEASE_MS = 3_600_000
STOP_S = 10.0


class Consumer:
    """The other end: a consumer process and the pipe to it."""

    def __init__(
        self, worker_queue: str, worker_group_id: str, environment: Mapping[str, str]
    ) -> None:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.consumer", worker_queue, worker_group_id],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def take(self, count: int) -> float:
        """Take so many runs and give how many a second. Raise `Unmeasurable`."""
        to, answers = self._process.stdin, self._process.stdout
        assert to is not None
        assert answers is not None
        to.write(f"{count}\n")
        to.flush()
        line = answers.readline()
        if not line:
            raise Unmeasurable("the process that takes runs has ended")
        answer = json.loads(line)
        if answer["taken"] != count:
            raise Unmeasurable(f"{answer['taken']} of {count} waiting runs could be taken")
        return float(count / answer["seconds"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=STOP_S)


def serve(worker_queue: str, worker_group_id: str, asked: IO[str], answers: IO[str]) -> None:
    """Do what is asked until nothing more is."""
    from runs.machines import PRESETS  # noqa: PLC0415  Django has to be set up first
    from runs.queue import DequeueCall, lease_next  # noqa: PLC0415

    def call() -> DequeueCall:
        return DequeueCall(
            worker_queue=worker_queue,
            worker_group_id=worker_group_id,
            worker_instance="bench",
            request_key=uuid4().hex,
            machines=list(PRESETS),
            lease_ms=LEASE_MS,
        )

    for line in asked:
        began = time.perf_counter()
        taken = sum(lease_next(call()) is not None for _ in range(int(line)))
        seconds = time.perf_counter() - began
        answers.write(json.dumps({"taken": taken, "seconds": seconds}) + "\n")
        answers.flush()


if __name__ == "__main__":
    django.setup()
    serve(sys.argv[1], sys.argv[2], sys.stdin, sys.stdout)
