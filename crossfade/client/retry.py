"""Whether a call is sent again, and when. Pure: the clock and the dice are arguments.

Source: the public SDK's behaviour: 5 tries, 1 s x 1.6^n, at most 30 s; the server's own
`x-should-retry` wins; a rate limit is waited out until the moment the server names. Ours: so is
what `Retry-After` asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_RETRIED = frozenset({408, 409, 429})
_NOT_FOUND = 404
_TOO_MANY = 429
_FIRST_SERVER_ERROR = 500
_LONGEST_ASKED_S = 120.0  # whoever asks for more is asked again sooner


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is sent and how long the waits are, in seconds."""

    attempts: int = 5
    first_wait_s: float = 1.0
    factor: float = 1.6
    longest_wait_s: float = 30.0
    repeats_missing: bool = True  # whether a 404 that may be repeated is

    def wait_s(self, attempt: int) -> float:
        """Give the wait after try number `attempt`, from 1."""
        return min(self.first_wait_s * self.factor ** (attempt - 1), self.longest_wait_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one try came to; no status: no answer came."""

    status: int | None
    headers: Mapping[str, str]


def decide_wait_s(
    policy: RetryPolicy, outcome: Outcome, *, attempt: int, now_ms: float, jitter: float
) -> float | None:
    """Give the seconds to wait before the next try, or None when there is none.

    **Args** `attempt` the number of the try that ended so, from 1; `jitter` in [0, 1).
    """
    is_missing = outcome.status == _NOT_FOUND and not policy.repeats_missing
    if attempt >= policy.attempts or is_missing or not _is_worth_repeating(outcome):
        return None
    reset_ms = outcome.headers.get("x-ratelimit-reset", "")
    if outcome.status == _TOO_MANY and reset_ms.isdecimal() and float(reset_ms) > now_ms:
        return (float(reset_ms) - now_ms) / 1000 + jitter
    return max(policy.wait_s(attempt), asked_wait_s(outcome.headers) or 0)


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Give how many seconds `Retry-After` asks to wait, two minutes at most; None: it does not.

    >>> asked_wait_s({"retry-after": "15"}), asked_wait_s({"retry-after": "soon"})
    (15.0, None)
    """
    asked = headers.get("retry-after", "")
    return min(float(asked), _LONGEST_ASKED_S) if asked.isdecimal() else None


def is_final(headers: Mapping[str, str]) -> bool:
    """Say whether the server has said that no repeat can help."""
    return headers.get("x-should-retry") == "false"


def _is_worth_repeating(outcome: Outcome) -> bool:
    if is_final(outcome.headers):
        return False
    if outcome.headers.get("x-should-retry") == "true":
        return True
    status = outcome.status
    return status is None or status in _RETRIED or status >= _FIRST_SERVER_ERROR
