"""Runs as the rows of a table. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from runs.count_selectors import MAX_COUNTED, RunCounts
from runs.states import FINAL
from webapp.dashboard.run_filters import Filters
from webapp.dashboard.run_times import ran
from webapp.dashboard.words import (
    STATUS_WORDS,
    Moment,
    Word,
    duration_text,
    moment,
    status_word,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.selectors import RunView

SHORT_ID: Final = 8  # the random end of an id; its beginning is the time


class RunRow(NamedTuple):
    """A run as lists show it."""

    id: str
    short_id: str
    task: str
    status: Word
    created: Moment
    duration: str  # "" before the first attempt
    region: str | None
    version: str | None
    tags: list[str]
    is_test: bool


class Facet(NamedTuple):
    """A state, how many runs are in it, and the address of those."""

    word: Word
    number: str
    query: str
    is_chosen: bool


class Example(NamedTuple):
    """A trigger that an empty list proposes."""

    task: str
    payload: str


GREETING: Final = Example("hello-world", '{"name":"Ada"}')  # of the bundled examples


def example_for(tasks: Sequence[str]) -> Example:
    """Give what to trigger first: the greeting if it is deployed or nothing is, else any task."""
    return GREETING if not tasks or GREETING.task in tasks else Example(tasks[0], "{}")


def run_row(run: RunView, now: datetime) -> RunRow:
    """Give a run as a row."""
    length = ran(run, now)
    return RunRow(
        id=run.id,
        short_id=run.id[-SHORT_ID:],
        task=run.task_slug,
        status=status_word(run.status, run.execution_status),
        created=moment(run.created_at, now),
        duration="" if length is None else duration_text(length),
        region=run.region,
        version=run.version,
        tags=sorted(run.tags),
        is_test=run.is_test,
    )


def count_sentence(counts: RunCounts | None, filters: Filters) -> str:
    """Give the first line of a list: how many runs there are of which kind.

    >>> count_sentence(RunCounts({"CRASHED": 2}, is_complete=True), Filters())
    '2 runs'
    """
    if counts is None:
        phrase = filters.phrase("runs")
        return f"{phrase[0].upper()}{phrase[1:]}"
    if not counts.is_complete:
        return f"More than {MAX_COUNTED:,} {filters.phrase('runs')}"
    return f"{counts.total:,} {filters.phrase('run' if counts.total == 1 else 'runs')}"


def facets(counts: RunCounts | None, filters: Filters) -> list[Facet]:
    """Give how many there are in each state, in the order of a run's life.

    `counts` are those of the filter without its states. A state that is chosen is among them, even
    if no run is in it.
    """
    if counts is None:
        return []
    found = []
    for status, word in STATUS_WORDS.items():
        count, is_chosen = counts.by_status.get(status, 0), word.name in filters.statuses
        if count or is_chosen:
            found.append(Facet(word, f"{count:,}", filters.with_status(word.name), is_chosen))
    return found


def is_live(runs: Sequence[RunView]) -> bool:
    """Tell whether any of these runs may still change."""
    return any(run.status not in FINAL for run in runs)
