"""When a create that failed is tried again, and under which name. Pure.

A create may be repeated only where it surely did not happen, or where a repeat does no harm. 500
and 503 say that nothing runs, but the name may stay taken for a while: the next try has a name of
its own. When the network failed, the instance may be there: the same name is tried again, so that
there are never two. 502, 504, a deadline and every refusal are final.

Source: supervisor.md on create retries; `docs/gateway-api.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FIRST_SERVER_ERROR = 500
MAY_PASS = frozenset({401, 403, 408, 425, 429})  # also: it does not know us yet
SURELY_NOT_CREATED = frozenset({500, 503})


class FailureKind(StrEnum):
    """How one create failed."""

    STATUS = "status"  # the gateway answered with an error
    NETWORK = "network"  # no connection, or it broke: nobody knows whether the create happened
    DEADLINE = "deadline"  # no answer in time: nobody knows
    UNREADABLE = "unreadable"  # an answer that is none: nobody knows


@dataclass(frozen=True, slots=True)
class CreateFailure:
    """One failed create."""

    kind: FailureKind
    status: int | None = None  # of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRetry:
    """How often a create is tried."""

    max_attempts: int = 3  # 1: never again
    base_delay_ms: int = 250  # the pause after the first attempt; the second's is twice as long
    max_elapsed_ms: int = 5_000  # after this long the run goes back into its queue instead


@dataclass(frozen=True, slots=True)
class NextTry:
    """Another attempt is worthwhile."""

    name: str
    delay_ms: int


def is_retryable(failure: CreateFailure) -> bool:
    """Say whether a repeat cannot make a second instance.

    >>> is_retryable(CreateFailure(FailureKind.STATUS, 500))
    True
    >>> is_retryable(CreateFailure(FailureKind.STATUS, 502))
    False
    """
    if failure.kind is FailureKind.STATUS:
        return failure.status in SURELY_NOT_CREATED
    return failure.kind is FailureKind.NETWORK


def is_template_retryable(failure: CreateFailure) -> bool:
    """Say whether asking for a template again may help; it never does harm, whatever happened.

    >>> is_template_retryable(CreateFailure(FailureKind.STATUS, 504))
    True
    >>> is_template_retryable(CreateFailure(FailureKind.STATUS, 400))
    False
    """
    if failure.kind is not FailureKind.STATUS or failure.status is None:
        return True
    return failure.status >= FIRST_SERVER_ERROR or failure.status in MAY_PASS


def is_unknown(failure: CreateFailure) -> bool:
    """Say whether the instance may be there although the create failed."""
    return failure.kind is not FailureKind.STATUS or failure.status in {502, 504}


def name_for_attempt(base: str, attempt: int) -> str:
    """Give the name of an attempt that may not have an earlier one's; the first has none added.

    >>> name_for_attempt("runner-abc123", 1), name_for_attempt("runner-abc123", 2)
    ('runner-abc123', 'runner-abc123-r2')
    """
    return base if attempt == 1 else f"{base}-r{attempt}"


def decide_next_try(
    failure: CreateFailure,
    policy: CreateRetry,
    *,
    base: str,
    name: str,
    attempt: int,
    elapsed_ms: float,
) -> NextTry | None:
    """Give the next try after the failure of `attempt` (from 1), made as `name`, or None.

    **Rule** as the module says; `attempt` below `max_attempts`; `elapsed_ms` since the first try
    began below `max_elapsed_ms`.
    """
    is_over = attempt >= policy.max_attempts or elapsed_ms >= policy.max_elapsed_ms
    if is_over or not is_retryable(failure):
        return None
    keeps_name = failure.kind is FailureKind.NETWORK
    next_name = name if keeps_name else name_for_attempt(base, attempt + 1)
    return NextTry(next_name, policy.base_delay_ms * attempt)
