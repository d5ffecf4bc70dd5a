"""When a registry loads, what it applies and how long it waits: a state and its moves. Pure.

Loads are numbered in the order they start. One load is waited for at a time; one that is not done
by its deadline is given up, which counts as a failure, but it may still come back.

**Rule**
1. A result is applied if its number is greater than that of the load applied last.
2. Of two loads that ran side by side the later number need not have read later. When both results
   have a revision the greater one stays; in any case one more load follows.
3. A wake-up asks for a load that starts after it: at once, or right after the one that is running.
4. Every failure is retried after 1 s, 2 s, 4 s, up to 60 s; a wake-up does not wait for that.
5. The first load is due at once, and a load is always due at some time: polling never ends.
6. Delays are shortened by chance, never lengthened, so that the interval stays a promise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPolicy:
    """How often and how patiently to load."""

    interval_s: float  # between the end of a good load and the next
    timeout_s: float  # a load that takes longer is given up
    retry_first_s: float = 1.0  # after the first failure; doubles with each in a row
    retry_cap_s: float = 60.0
    jitter: float = 0.2  # 0-1: the part of a delay that chance may take away
    max_lost: int = 8  # with so many loads given up and not back, wake-ups wait for the next delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """All that is known about a registry's loads; seconds are of one monotonic clock."""

    started: int = 0  # the number of the newest load
    asked: int = 0  # a load with this number, or a later one, was asked for
    running: int | None = None  # the load that is waited for
    deadline_s: float = 0.0  # when it is given up
    in_flight: Mapping[int, int] = field(default_factory=dict)  # load -> `applied` when it started
    applied: int = 0  # the load whose result is served; 0: none yet
    applied_revision: int | None = None  # the revision of that result, if it has one
    failed: int = 0  # the newest load that failed or was given up
    failures: int = 0  # in a row
    next_at_s: float = 0.0  # when the next load is due by itself


@dataclass(frozen=True, slots=True)
class Start:
    """Start this load now."""

    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before this time, unless something happens."""

    until_s: float


def ask(state: Loading) -> Loading:
    """Ask for a load that starts after this moment: `asked` of the result is its number."""
    return replace(state, asked=state.started + 1)


def advance(
    state: Loading, policy: LoadPolicy, *, now_s: float, chance: float
) -> tuple[Loading, Start | Wait]:
    """Give up what is overdue, then say which load to start or until when to wait.

    `chance` is 0 (inclusive) to 1 (exclusive) and shortens the delay after a load given up.
    """
    if state.running is not None and now_s >= state.deadline_s:
        state = _after_failure(state, state.running, policy, now_s=now_s, chance=chance)
    if state.running is not None:
        return state, Wait(state.deadline_s)
    if now_s >= state.next_at_s or _is_asked(state, policy):
        state = begin(state, policy, now_s=now_s)
        return state, Start(state.started)
    return state, Wait(state.next_at_s)


def begin(state: Loading, policy: LoadPolicy, *, now_s: float) -> Loading:
    """Start the next load, whatever else is running; `started` of the result is its number."""
    number = state.started + 1
    return replace(
        state,
        started=number,
        running=number,
        deadline_s=now_s + policy.timeout_s,
        in_flight={**state.in_flight, number: state.applied},
    )


def finish(
    state: Loading,
    policy: LoadPolicy,
    number: int,
    *,
    revision: int | None,
    now_s: float,
    chance: float,
) -> tuple[Loading, bool]:
    """Note that a load came back with a result; true when the result is to be served from now on.

    `revision` is the result's own, or None when it has none.
    """
    was_alone = state.in_flight.get(number) == state.applied
    applies = number > state.applied and (was_alone or not _is_older(revision, state))
    was_running = number == state.running
    state = _landed(state, number)
    if was_running:
        next_at_s = now_s + _shortened(policy.interval_s, policy, chance)
        state = replace(state, failures=0, next_at_s=next_at_s)
    if not was_alone:
        state = ask(state)
    if applies:
        state = replace(state, applied=number, applied_revision=revision)
    return state, applies


def fail(
    state: Loading, policy: LoadPolicy, number: int, *, now_s: float, chance: float
) -> Loading:
    """Note that a load came back with an error; what is served stays."""
    landed = _landed(state, number)
    if number != state.running:
        return landed  # it was given up before, and counted as a failure then
    return _after_failure(landed, number, policy, now_s=now_s, chance=chance)


def lost_loads(state: Loading) -> int:
    """Count the loads that were given up and have not come back."""
    return len(state.in_flight) - (state.running is not None)


def _is_asked(state: Loading, policy: LoadPolicy) -> bool:
    return state.asked > state.started and lost_loads(state) < policy.max_lost


def _is_older(revision: int | None, state: Loading) -> bool:
    served = state.applied_revision
    return revision is not None and served is not None and revision < served


def _landed(state: Loading, number: int) -> Loading:
    others = {key: value for key, value in state.in_flight.items() if key != number}
    running = None if state.running == number else state.running
    return replace(state, in_flight=others, running=running)


def _after_failure(
    state: Loading, number: int, policy: LoadPolicy, *, now_s: float, chance: float
) -> Loading:
    failures = state.failures + 1
    doublings = min(failures - 1, 62)  # far past the cap, and no overflow after years of failures
    delay_s = min(policy.retry_first_s * 2**doublings, policy.retry_cap_s)
    return replace(
        state,
        running=None,
        failed=number,
        failures=failures,
        next_at_s=now_s + _shortened(delay_s, policy, chance),
    )


def _shortened(delay_s: float, policy: LoadPolicy, chance: float) -> float:
    return delay_s * (1 - policy.jitter * chance)
