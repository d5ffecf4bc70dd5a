"""Ramps: dials that move by a schedule. Where one stands follows from schedule and clock. Pure.

Every replica works it out for itself from what it has in memory, so that a step takes effect on
time without a job that would have to run. The states are a table, as those of a run are.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from tenants.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_STEPS: Final = 100
MAX_HOLD_S: Final = 366 * 24 * 3600
MAX_VALUE: Final = 100


class RampState(StrEnum):
    """What a ramp does at this moment."""

    DRAFT = "draft"  # written down; it changes nothing
    RUNNING = "running"  # it moves its dial
    PAUSED = "paused"  # the dial stays where the ramp had moved it, until somebody resumes
    FINISHED = "finished"  # the dial stays where the ramp had moved it; over
    ABORTED = "aborted"  # the dial went back to where it was before; over


class RampEvent(StrEnum):
    """What happens to a ramp."""

    START = "start"
    PAUSE = "pause"  # by a person, or because somebody wrote the dial or switched the migration off
    RESUME = "resume"
    ABORT = "abort"
    FINISH = "finish"  # by a person, before its end
    RUN_OUT = "run_out"  # its last step was held for its time


LIVE: Final = frozenset({RampState.RUNNING, RampState.PAUSED})
TRANSITIONS: Final[Mapping[tuple[RampState, RampEvent], RampState]] = {
    (RampState.DRAFT, RampEvent.START): RampState.RUNNING,
    (RampState.DRAFT, RampEvent.ABORT): RampState.ABORTED,
    (RampState.RUNNING, RampEvent.PAUSE): RampState.PAUSED,
    (RampState.RUNNING, RampEvent.ABORT): RampState.ABORTED,
    (RampState.RUNNING, RampEvent.FINISH): RampState.FINISHED,
    (RampState.RUNNING, RampEvent.RUN_OUT): RampState.FINISHED,
    (RampState.PAUSED, RampEvent.RESUME): RampState.RUNNING,
    (RampState.PAUSED, RampEvent.ABORT): RampState.ABORTED,
    (RampState.PAUSED, RampEvent.FINISH): RampState.FINISHED,
}


class Step(NamedTuple):
    """One value of the dial, and how long it holds."""

    value: int  # whole per cent, 0 to 100
    hold_s: int  # whole seconds; 0 in the last step means that the ramp ends with it


class Position(NamedTuple):
    """Where a ramp stands."""

    step: int  # its place in the schedule, 0 for the first
    value: int
    until_s: float | None  # seconds of the schedule at which the step ends
    is_over: bool  # the last step was held for its time


class DueStep(NamedTuple):
    """A step that has begun."""

    step: int
    old: int
    new: int
    after_s: float  # seconds of the schedule at which it began


class MovingDial(NamedTuple):
    """A dial that a ramp moves, as of one moment."""

    flag: str
    steps: tuple[Step, ...]
    elapsed_s: float  # how much of the schedule is over at that moment


class Moment(NamedTuple):
    """What dials are from a time on."""

    after_s: float  # counted from the moment of the `MovingDial`s
    dials: Mapping[str, int]  # by flag


def next_state(state: RampState, event: RampEvent) -> RampState | None:
    """Give the state after an event; None: it cannot happen in this state.

    >>> next_state(RampState.PAUSED, RampEvent.RESUME)
    <RampState.RUNNING: 'running'>
    """
    return TRANSITIONS.get((state, event))


def position_at(steps: Sequence[Step], elapsed_s: float) -> Position:
    """Give where a schedule stands after `elapsed_s` seconds of it. Total for any elapsed time.

    **Rule** a step begins when those before it were held, and is in effect from that very moment;
    before the beginning the first one is, and after the end the last one stays.

    >>> position_at((Step(5, 60), Step(25, 60)), 60.0)
    Position(step=1, value=25, until_s=120, is_over=False)
    """
    ends_s = 0
    for number, step in enumerate(steps):
        ends_s += step.hold_s
        if elapsed_s < ends_s:
            return Position(number, step.value, ends_s, is_over=False)
    return Position(len(steps) - 1, steps[-1].value, None, is_over=True)


def due_steps(steps: Sequence[Step], *, noted: int, elapsed_s: float) -> tuple[DueStep, ...]:
    """Give the steps after number `noted` that have begun, in order."""
    found, begins_s = [], 0
    for number, (before, step) in enumerate(pairwise(steps), start=1):
        begins_s += before.hold_s
        if number > noted and begins_s <= elapsed_s:
            found.append(DueStep(number, before.value, step.value, begins_s))
    return tuple(found)


def length_s(steps: Sequence[Step]) -> int:
    """Give how long a schedule takes from its start to its end."""
    return sum(step.hold_s for step in steps)


def moments_for(moving: Iterable[MovingDial]) -> tuple[Moment, ...]:
    """Give what the dials are from now on, each change at its time; the first holds from now.

    **Args** `moving`: at most one for each flag, all as of the same moment.
    """
    timelines = {dial.flag: _timeline(dial) for dial in moving}
    changes_s = {after_s for timeline in timelines.values() for after_s, _ in timeline}
    return tuple(
        Moment(now_s, {flag: _value_at(timeline, now_s) for flag, timeline in timelines.items()})
        for now_s in sorted({0.0, *changes_s})
    )


def _timeline(dial: MovingDial) -> list[tuple[float, int]]:
    """Give the values still to come with the seconds until each, the present one first."""
    now = position_at(dial.steps, dial.elapsed_s)
    later = due_steps(dial.steps, noted=now.step, elapsed_s=float("inf"))
    return [(0.0, now.value), *((step.after_s - dial.elapsed_s, step.new) for step in later)]


def _value_at(timeline: Sequence[tuple[float, int]], now_s: float) -> int:
    return [value for after_s, value in timeline if after_s <= now_s][-1]


def problems_of_steps(steps: Sequence[Step]) -> tuple[Problem, ...]:
    """Give everything that is wrong with a schedule; nothing: it may be stored."""
    if not 1 <= len(steps) <= MAX_STEPS:
        return (Problem("steps", f"must be 1 to {MAX_STEPS} steps"),)
    problems = []
    for number, step in enumerate(steps):
        least_s = 0 if number == len(steps) - 1 else 1
        if not 0 <= step.value <= MAX_VALUE:
            problems.append(
                Problem(f"steps.{number}.value", f"must be a whole number from 0 to {MAX_VALUE}")
            )
        if not least_s <= step.hold_s <= MAX_HOLD_S:
            sentence = f"must be whole seconds, {least_s} to {MAX_HOLD_S}"
            problems.append(Problem(f"steps.{number}.holdSeconds", sentence))
        if number and steps[number - 1].value == step.value:
            problems.append(
                Problem(f"steps.{number}.value", "is that of the step before; hold that one longer")
            )
    return tuple(problems)
