"""Callers who repeat what was not answered, as every client of the platform does."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx

from tests.calling import request
from tests.fault.chaos.storm import MARKING
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fault.chaos.storm import Trigger
    from tests.live import LiveStack

CALLERS = 4
PATIENCE_S = 300.0
PAUSE_S = 0.2
OK = 200


class Callers:
    """Several at once, sharing what they were told."""

    def __init__(self, stack: LiveStack) -> None:
        """Call this stack with the production key."""
        self._stack = stack
        self._stopped = threading.Event()
        self.acknowledged: dict[str, bool] = {}  # run id -> whether it leaves marks

    def trigger_all(self, triggers: Iterable[Trigger], *, began_s: float) -> None:
        """Send each trigger at its time and return when all of them are answered."""
        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(lambda trigger: self._trigger(trigger, began_s), triggers))

    def read_final(self, *, timeout_s: float) -> dict[str, dict[str, Any]]:
        """Read every acknowledged run until all are final or the time is over."""
        read: dict[str, dict[str, Any]] = {}

        def _all_final() -> bool:
            for run_id in self.acknowledged:
                if not read.get(run_id, {}).get("isCompleted"):
                    answer = self._ask("GET", f"/api/v3/runs/{run_id}")
                    if answer.status_code == OK:
                        read[run_id] = answer.json()
            return all(read.get(run_id, {}).get("isCompleted") for run_id in self.acknowledged)

        deadline = time.monotonic() + timeout_s
        while not _all_final() and time.monotonic() < deadline:
            self._stopped.wait(PAUSE_S)
        return read

    def _trigger(self, trigger: Trigger, began_s: float) -> None:
        self._stopped.wait(max(0.0, began_s + trigger.at_s - time.monotonic()))
        body = {"payload": trigger.payload, "options": {"region": trigger.region}}
        path = f"/api/v1/tasks/{trigger.task}/trigger"
        key = f"storm-{trigger.payload['number']}"
        answer = self._ask("POST", path, body, key=key)
        assert answer.status_code == OK, answer.text
        self.acknowledged[answer.json()["id"]] = trigger.task == MARKING

    def _ask(self, method: str, path: str, body: object = None, *, key: str = "") -> httpx.Response:
        """Send a request until it is answered by anything but a failure of the platform's."""
        answers: list[httpx.Response] = []

        def _answered() -> bool:
            try:
                answer = request(
                    method,
                    f"{self._stack.url}{path}",
                    headers={
                        "authorization": f"Bearer {self._stack.key}",
                        "x-trigger-request-idempotency-key": key,
                    },
                    content=None if body is None else json.dumps(body),
                )
            except httpx.TransportError:
                self._stopped.wait(PAUSE_S)
                return False
            if answer.is_server_error:
                self._stopped.wait(PAUSE_S)
                return False
            answers.append(answer)
            return True

        wait_until(_answered, timeout_s=PATIENCE_S, what=f"an answer to {method} {path}")
        return answers[0]
