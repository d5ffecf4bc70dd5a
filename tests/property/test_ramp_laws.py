"""Laws of ramps: what no schedule, clock or reload may break."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from flags.ramps import (
    DueStep,
    MovingDial,
    Step,
    due_steps,
    length_s,
    moments_for,
    position_at,
    problems_of_steps,
)
from flags.values import flag_snapshot

ON = "computeMigrationEnabled"
FREE, PAID = "computeMigrationFreePercentage", "computeMigrationPaidPercentage"


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Step, ...]:
    """Give any schedule that may be stored."""
    values = draw(st.lists(st.integers(0, 100), min_size=1, max_size=8))
    values = [
        value for number, value in enumerate(values) if number == 0 or values[number - 1] != value
    ]
    return tuple(Step(value, draw(st.integers(1, 500))) for value in values)


SCHEDULES = schedules()
TIMES = st.floats(-100, 10_000, allow_nan=False)


@given(SCHEDULES, TIMES)
def test_a_ramp_is_always_at_one_of_its_steps(steps: tuple[Step, ...], elapsed_s: float) -> None:
    """At any moment the value is that of the step it names, and time left is time of that step."""
    assert problems_of_steps(steps) == ()
    at = position_at(steps, elapsed_s)
    assert at.value == steps[at.step].value
    assert at.is_over == (elapsed_s >= length_s(steps))
    assert at.until_s is None or elapsed_s < at.until_s


@given(SCHEDULES, TIMES, TIMES)
def test_a_ramp_never_goes_back(steps: tuple[Step, ...], one: float, other: float) -> None:
    """Later is never at an earlier step."""
    early, late = sorted((one, other))
    assert position_at(steps, early).step <= position_at(steps, late).step


@given(SCHEDULES, st.lists(TIMES, max_size=6))
def test_each_step_is_noted_once_whenever_somebody_looks(
    steps: tuple[Step, ...], looks: list[float]
) -> None:
    """However often and late one looks, each step that has begun comes once and in order."""
    noted, seen = 0, list[DueStep]()
    for elapsed_s in sorted(looks):
        found = due_steps(steps, noted=noted, elapsed_s=elapsed_s)
        seen.extend(found)
        noted = max([noted, *(step.step for step in found)])
    assert [step.step for step in seen] == list(range(1, noted + 1))
    assert all(step.new == steps[step.step].value for step in seen)
    assert noted == max([0, *(position_at(steps, elapsed_s).step for elapsed_s in looks)])


@given(SCHEDULES, SCHEDULES, st.floats(0, 3000), st.floats(0, 3000), st.floats(0, 5000))
def test_a_snapshot_moves_by_itself_as_the_schedules_say(
    free: tuple[Step, ...],
    paid: tuple[Step, ...],
    free_s: float,
    paid_s: float,
    later_s: float,
) -> None:
    """A replica that never reloads has at any later moment what the two schedules give then.

    At a boundary itself the sum of two times may be off by a rounding, so it is asked beside it.
    """
    moving = [MovingDial(FREE, free, free_s), MovingDial(PAID, paid, paid_s)]
    snapshot = flag_snapshot(
        {ON: True, FREE: 77}, revision=1, moments=moments_for(moving), read_at_s=1000.0
    )
    now = snapshot.at(1000.0 + later_s)
    near = {
        (position_at(free, free_s + at_s).value, position_at(paid, paid_s + at_s).value)
        for at_s in (later_s - 1e-6, later_s, later_s + 1e-6)
    }
    assert now.dials is not None
    assert (now.dials["free"], now.dials["paid"]) in near
    assert (now.values[FREE], now.values[PAID]) == (now.dials["free"], now.dials["paid"])
    assert now.until_s > 1000.0 + later_s


@given(SCHEDULES)
def test_a_step_is_in_effect_at_its_very_moment(steps: tuple[Step, ...]) -> None:
    """Every link of the chain begins exactly when the one before it ends."""
    snapshot = flag_snapshot(
        {ON: True}, revision=1, moments=moments_for([MovingDial(FREE, steps, 0.0)]), read_at_s=0.0
    )
    begins_s = 0
    for number, step in enumerate(steps):
        assert snapshot.at(begins_s).values[FREE] == step.value
        before_s = math.nextafter(begins_s, -1)
        assert number == 0 or snapshot.at(before_s).values[FREE] == steps[number - 1].value
        begins_s += step.hold_s


@given(SCHEDULES, st.booleans() | st.none())
def test_a_ramp_moves_a_dial_and_nothing_else(
    steps: tuple[Step, ...], enabled: bool | None
) -> None:
    """While the migration is off there is no dial, whatever a ramp does."""
    stored = {} if enabled is None else {ON: enabled}
    moments = moments_for([MovingDial(FREE, steps, 0.0)])
    at = flag_snapshot(stored, revision=1, moments=moments)
    assert {key: value for key, value in at.values.items() if key != FREE} == stored
    assert (at.dials is not None) == (enabled is True)
