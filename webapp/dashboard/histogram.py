"""Runs over time, as bars that lead to their runs. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from runs.count_selectors import STEPS, RunCounts
from runs.states import RunStatus
from webapp.dashboard.run_filters import Filters, read_time, time_text
from webapp.dashboard.words import STATUS_WORDS, count_text

HEIGHT: Final = 40  # of the highest bar
LEAST: Final = 1.5  # of a bar that can still be seen
LEAST_RUNS: Final = 2
BAD: Final = frozenset(status for status, word in STATUS_WORDS.items() if word.tone == "bad")


class Bar(NamedTuple):
    """The runs of one step; places and sizes are those of the drawing."""

    x: int
    height: float
    bad_height: float  # the part of it that failed
    query: str  # of the list of these runs
    sentence: str

    @property
    def top(self) -> float:
        """Where the bar begins, from above."""
        return HEIGHT - self.height

    @property
    def bad_top(self) -> float:
        """Where the part of it that failed begins."""
        return HEIGHT - self.bad_height


class Histogram(NamedTuple):
    """Bars of a list, with what they say together."""

    bars: list[Bar]
    width: int
    height: int
    began: str  # as in an address
    ended: str
    sentence: str

    @property
    def axis(self) -> tuple[str, str]:
        """What stands at the two ends."""
        return read_time(self.began), f"{read_time(self.ended)} UTC"


class _Step(NamedTuple):
    number: int
    total: int
    bad: int  # of them failed


def histogram(counts: RunCounts | None, filters: Filters) -> Histogram | None:
    """Give the bars of what a list matches; None when there is not enough to see."""
    if counts is None or counts.since is None or counts.until is None or counts.total < LEAST_RUNS:
        return None
    steps = [_step(counts, number) for number in range(STEPS)]
    most = max(step.total for step in steps)
    length = (counts.until - counts.since) / STEPS
    bars = [
        _bar(step, most, filters, counts.since + length * step.number, length)
        for step in steps
        if step.total
    ]
    began, ended = time_text(counts.since), time_text(counts.until, round_up=True)
    bad = sum(step.bad for step in steps)
    said = f"{count_text(counts.total, 'run')} from {read_time(began)} to {read_time(ended)} UTC"
    return Histogram(
        bars=bars,
        width=STEPS,
        height=HEIGHT,
        began=began,
        ended=ended,
        sentence=f"{said}; {bad} failed",
    )


def _step(counts: RunCounts, number: int) -> _Step:
    found = {status: counts.by_step.get((number, status), 0) for status in RunStatus}
    bad = sum(count for status, count in found.items() if status in BAD)
    return _Step(number, sum(found.values()), bad)


def _bar(step: _Step, most: int, filters: Filters, began: datetime, length: timedelta) -> Bar:
    since, until = time_text(began), time_text(began + length, round_up=True)
    said = f"{read_time(since)} to {read_time(until)} UTC: {count_text(step.total, 'run')}"
    return Bar(
        x=step.number,
        height=max(LEAST, round(step.total / most * HEIGHT, 2)),
        bad_height=max(LEAST, round(step.bad / most * HEIGHT, 2)) if step.bad else 0,
        query=filters.between(since, until).query,
        sentence=f"{said}, {step.bad} failed" if step.bad else said,
    )
