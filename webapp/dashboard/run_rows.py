"""Runs as the rows of a table. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from runs.states import FINAL
from webapp.dashboard.run_times import ran
from webapp.dashboard.words import (
    Moment,
    Word,
    count_text,
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


def summary(rows: Sequence[RunRow]) -> str:
    """Give what stands on a page in one sentence, the most frequent state first."""
    counts = Counter(row.status.text for row in rows)
    parts = [f"{count} {word[0].lower()}{word[1:]}" for word, count in counts.most_common()]
    return f"{count_text(len(rows), 'run')} shown: {', '.join(parts)}"


def is_live(runs: Sequence[RunView]) -> bool:
    """Tell whether any of these runs may still change."""
    return any(run.status not in FINAL for run in runs)
