"""The table of a ramp's states, and what a schedule may be."""

from __future__ import annotations

import pytest

from flags.models import Ramp
from flags.ramps import (
    LIVE,
    MAX_HOLD_S,
    MAX_STEPS,
    TRANSITIONS,
    RampEvent,
    RampState,
    Step,
    next_state,
    position_at,
    problems_of_steps,
)

OVER = {RampState.FINISHED, RampState.ABORTED}
STEPS = (Step(1, 10), Step(5, 10), Step(100, 0))


@pytest.mark.parametrize("state", RampState)
@pytest.mark.parametrize("event", RampEvent)
def test_the_table_is_the_whole_of_it(state: RampState, event: RampEvent) -> None:
    """What the table does not have cannot happen, and what is over stays over."""
    assert next_state(state, event) == TRANSITIONS.get((state, event))
    assert next_state(state, event) is None or state not in OVER


def test_every_live_ramp_can_be_stopped_for_good() -> None:
    """Nobody has to wait for a ramp: running or paused, it can be aborted and finished."""
    for state in LIVE:
        assert next_state(state, RampEvent.ABORT) is RampState.ABORTED
        assert next_state(state, RampEvent.FINISH) is RampState.FINISHED


def test_the_database_knows_the_same_states() -> None:
    """The constraint is made from the states, and one ramp moves a dial."""
    names = {constraint.name for constraint in Ramp._meta.constraints}
    assert {"flags_ramp_state_known", "flags_ramp_one_moves_a_dial"} <= names


@pytest.mark.parametrize(
    ("elapsed_s", "step", "value", "until_s"),
    [
        (-5.0, 0, 1, 10),
        (0.0, 0, 1, 10),
        (9.999999, 0, 1, 10),
        (10.0, 1, 5, 20),
        (19.999999, 1, 5, 20),
        (20.0, 2, 100, None),
        (1e12, 2, 100, None),
    ],
)
def test_a_step_begins_when_the_one_before_was_held(
    elapsed_s: float, step: int, value: int, until_s: float | None
) -> None:
    """Half open: at its very second a step is in effect; the last one stays for ever."""
    position = position_at(STEPS, elapsed_s)
    assert (position.step, position.value, position.until_s) == (step, value, until_s)
    assert position.is_over == (until_s is None)


@pytest.mark.parametrize(
    ("steps", "key"),
    [
        ((), "steps"),
        (tuple(Step(number % 2, 1) for number in range(MAX_STEPS + 1)), "steps"),
        ((Step(-1, 1),), "steps.0.value"),
        ((Step(101, 1),), "steps.0.value"),
        ((Step(1, 0), Step(2, 1)), "steps.0.holdSeconds"),
        ((Step(1, -1),), "steps.0.holdSeconds"),
        ((Step(1, MAX_HOLD_S + 1),), "steps.0.holdSeconds"),
        ((Step(1, 1), Step(1, 1)), "steps.1.value"),
    ],
)
def test_what_is_no_schedule_is_named(steps: tuple[Step, ...], key: str) -> None:
    """A step without time would never be in effect, and one like the step before is none."""
    assert [problem.key for problem in problems_of_steps(steps)] == [key]


def test_a_schedule_may_end_with_its_last_step() -> None:
    """Only the last step may hold for no time; a way down is a schedule, too."""
    assert problems_of_steps(STEPS) == ()
    assert problems_of_steps((Step(50, 1), Step(0, 0))) == ()
