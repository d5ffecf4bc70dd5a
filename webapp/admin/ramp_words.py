"""Ramps as operators read them: where one stands, what comes next, what each action does. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from flags.ramps import RampState, length_s
from webapp.admin.tables import Cell, Fact, Table, at, code, facts, number, word
from webapp.dashboard.words import Word, duration_text, moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from flags.selectors import RampView

STATES: Final[Mapping[RampState, Word]] = {
    RampState.DRAFT: Word("Draft", "idle"),
    RampState.RUNNING: Word("Running", "live"),
    RampState.PAUSED: Word("Paused", "warn"),
    RampState.FINISHED: Word("Finished", "good"),
    RampState.ABORTED: Word("Aborted", "idle"),
}
HEADERS: Final = ("Dial", "State", "Value", "Step", "Next", "Schedule", "Created")
STEP_HEADERS: Final = ("Step", "Dial", "Holds for", "Begins", "Stands")


class Track(NamedTuple):
    """A dial drawn as a line from 0 to 100."""

    now: int
    stops: tuple[int, ...]  # the steps that are still to come
    text: str  # the same in words


def percent(value: int | None) -> str:
    """Give a value of a dial; None is not set."""
    return "not set" if value is None else f"{value} %"


def position_text(ramp: RampView, now: datetime) -> str:
    """Give where a ramp stands and what comes next, in one sentence."""
    place = f"step {ramp.step + 1} of {len(ramp.steps)}"
    if ramp.state is RampState.DRAFT:
        return f"Draft: {schedule_text(ramp)}. It changes nothing before it is started."
    if ramp.state is RampState.PAUSED:
        because = f" because {ramp.stopped_because}" if ramp.stopped_because else ""
        return f"Paused at {percent(ramp.value)}, {place}{because}."
    if ramp.state is not RampState.RUNNING:
        return f"{STATES[ramp.state].text} at {percent(ramp.value)}, {place}."
    return f"At {percent(ramp.value)}, {place}{_next_text(ramp, now)}."


def schedule_text(ramp: RampView) -> str:
    """Give all the values, in order."""
    return " → ".join(str(step.value) for step in ramp.steps) + " %"


def track_of(ramp: RampView | None, value: int | None) -> Track:
    """Give a dial's track; `ramp` is the one that moves it."""
    now = value or 0
    coming = () if ramp is None else tuple(step.value for step in ramp.steps[ramp.step + 1 :])
    rest = f", then {', '.join(map(percent, coming))}" if coming else ""
    return Track(now, coming, f"{percent(value)}{rest}")


def ramp_row(ramp: RampView, now: datetime, href: str) -> tuple[Cell, ...]:
    """Give a ramp as the cells of `HEADERS`."""
    return (
        code(ramp.flag, href),
        word(STATES[ramp.state]),
        Cell(percent(ramp.value), "number"),
        Cell(f"{ramp.step + 1} of {len(ramp.steps)}"),
        _next_cell(ramp, now),
        Cell(schedule_text(ramp)),
        at(ramp.created_at, now),
    )


def ramp_facts(ramp: RampView, now: datetime) -> tuple[Fact, ...]:
    """Give what is known of a ramp, with how it will go on."""
    started = ramp.started_at is not None
    return facts(
        {
            "State": word(STATES[ramp.state]),
            "Dial now": Cell(percent(ramp.dial)),
            "Dial before the ramp": Cell(percent(ramp.start_value) if started else ""),
            "Next": _next_cell(ramp, now),
            "Ends": at(ramp.ends_at, now),
            "Paused because": Cell(ramp.stopped_because or ""),
            "Started": at(ramp.started_at, now),
            "Ended": at(ramp.ended_at, now),
            "Id": code(ramp.id),
        }
    )


def steps_table(ramp: RampView, now: datetime) -> Table:
    """Give the schedule, with when each step begins."""
    began_at = _began_at(ramp)
    rows, begins_s = [], 0
    for place, step in enumerate(ramp.steps):
        after = timedelta(seconds=begins_s)
        begins = Cell("at once" if not begins_s else f"{duration_text(after)} later")
        rows.append(
            (
                number(place + 1),
                Cell(percent(step.value), "number"),
                Cell(duration_text(timedelta(seconds=step.hold_s)) if step.hold_s else "ends it"),
                begins if began_at is None else at(began_at + after, now),
                Cell(_step_state(ramp, place)),
            )
        )
        begins_s += step.hold_s
    return Table("steps", STEP_HEADERS, tuple(rows), "No steps.")


def _began_at(ramp: RampView) -> datetime | None:
    """Give where the schedule of a running ramp would have begun without pauses."""
    return None if ramp.ends_at is None else ramp.ends_at - timedelta(seconds=length_s(ramp.steps))


def _step_state(ramp: RampView, place: int) -> str:
    if ramp.state is RampState.DRAFT or place > ramp.step:
        return ""
    return "here" if place == ramp.step else "done"


def _next_text(ramp: RampView, now: datetime) -> str:
    if ramp.next_at is not None:
        return f"; {percent(ramp.next_value)} {moment(ramp.next_at, now).text}"
    return "" if ramp.ends_at is None else f", the last; ends {moment(ramp.ends_at, now).text}"


def _next_cell(ramp: RampView, now: datetime) -> Cell:
    if ramp.next_at is None:
        return Cell("")
    shown = moment(ramp.next_at, now)
    return Cell(f"{percent(ramp.next_value)} {shown.text}", title=shown.exact)
