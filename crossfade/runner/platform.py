"""The calls a runner makes: each with a deadline, repeats, and one idempotency key for them all."""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossfade.errors import CrossfadeError
from crossfade.runner.http import Answer, send_request

if TYPE_CHECKING:
    from collections.abc import Callable

_CONFLICT = 409
_RETRIED = frozenset({408, 429})
_FIRST_SERVER_ERROR = 500
_FIRST_REFUSAL = 300


class Refused(CrossfadeError):
    """The platform understood and said no; a repeat cannot help."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.message = message

    @property
    def is_stale(self) -> bool:
        """Say whether the run has moved on without us."""
        return self.status == _CONFLICT


class Unreachable(CrossfadeError):
    """No usable answer came, however often we asked."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a call is sent, how long between, and how long one may take."""

    attempts: int
    first_wait_s: float
    longest_wait_s: float
    timeout_s: float

    def wait_s(self, attempt: int, *, jitter: float) -> float:
        """Give the wait after try number `attempt`; `jitter` in [0, 1) adds up to a half."""
        grown = self.first_wait_s * 2.0 ** min(attempt - 1, 30)
        return min(grown, self.longest_wait_s) * (1 + jitter / 2)


START = Tries(attempts=6, first_wait_s=0.5, longest_wait_s=10, timeout_s=30)
# A finished attempt whose result is lost is work done twice: ask for about two minutes.
COMPLETE = Tries(attempts=16, first_wait_s=0.25, longest_wait_s=10, timeout_s=60)
HEARTBEAT = Tries(attempts=2, first_wait_s=0.5, longest_wait_s=1, timeout_s=10)
SINCE = Tries(attempts=1, first_wait_s=0.5, longest_wait_s=1, timeout_s=10)
LOGS = Tries(attempts=1, first_wait_s=0.5, longest_wait_s=1, timeout_s=15)


class Platform:
    """The workload API of the supervisor (or the platform itself, in development) for one run."""

    def __init__(
        self, base_url: str, run_id: str, headers: dict[str, str], *, sleep: Callable[[float], Any]
    ) -> None:
        self._runs = f"{base_url}/runs/{run_id}"
        self._headers = headers
        self._sleep = sleep

    def start(self, snapshot_id: str, *, warm: bool) -> dict[str, Any]:
        """Begin an attempt; gives run, snapshot, execution and envVars."""
        path = f"/snapshots/{snapshot_id}/attempts/start"
        return self._ask("POST", path, {"isWarmStart": warm}, START)

    def complete(self, snapshot_id: str, completion: dict[str, Any]) -> dict[str, Any]:
        """End an attempt; gives attemptStatus, run and snapshot."""
        path = f"/snapshots/{snapshot_id}/attempts/complete"
        answer = self._ask("POST", path, {"completion": completion}, COMPLETE)
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    def heartbeat(self, snapshot_id: str) -> None:
        """Say that the run is alive."""
        self._ask("POST", f"/snapshots/{snapshot_id}/heartbeat", {}, HEARTBEAT)

    def snapshots_since(self, snapshot_id: str) -> list[dict[str, Any]]:
        """Give the run's snapshots after one, oldest first."""
        snapshots = self._ask("GET", f"/snapshots/since/{snapshot_id}", None, SINCE)["snapshots"]
        return [item for item in snapshots if isinstance(item, dict)]

    def send_logs(self, attempt: int, lines: list[dict[str, Any]]) -> None:
        """Hand over lines of an attempt; sending one again changes nothing."""
        self._ask("POST", "/logs", {"attempt": attempt, "lines": lines}, LOGS)

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, tries: Tries
    ) -> dict[str, Any]:
        data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {**self._headers, "x-trigger-request-idempotency-key": str(uuid.uuid4())}
        problem = ""
        for attempt in range(1, tries.attempts + 1):
            try:
                answer = send_request(
                    method, self._runs + path, headers, data, timeout_s=tries.timeout_s
                )
            except OSError as error:
                problem = str(error) or type(error).__name__
            else:
                if answer.status < _FIRST_REFUSAL:
                    return _json_object(answer)
                problem = f"HTTP {answer.status}: {_message(answer)}"
                if not is_worth_repeating(answer):
                    raise Refused(answer.status, _message(answer))
            if attempt < tries.attempts:
                self._sleep(tries.wait_s(attempt, jitter=random_share()))
        raise Unreachable(f"{method} {path}: {problem}")


def is_worth_repeating(answer: Answer) -> bool:
    """Say whether the same request may have another outcome; the server's own word wins."""
    said = answer.headers.get("x-should-retry")
    if said in {"true", "false"}:
        return said == "true"
    return answer.status >= _FIRST_SERVER_ERROR or answer.status in _RETRIED


def random_share() -> float:
    """Give a random number in [0, 1). The `random` module would cost every workload 1 MB."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def now_ms() -> float:
    """Give the wall clock in epoch milliseconds, as the wire counts."""
    return time.time() * 1000


def _json_object(answer: Answer) -> dict[str, Any]:
    if not answer.body.strip():
        return {}
    try:
        value = json.loads(answer.body)
    except ValueError as error:
        raise Unreachable(f"the answer is no JSON: {answer.body[:80]!r}") from error
    return value if isinstance(value, dict) else {}


def _message(answer: Answer) -> str:
    try:
        value = json.loads(answer.body)
    except ValueError:
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    text = error if isinstance(error, str) else answer.body[:300].decode("utf-8", "replace")
    return text.strip() or "no message"
