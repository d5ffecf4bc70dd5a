"""Which runs a list shows, as its address says. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import urlencode

from runs.durations import seconds_of
from runs.run_filter import RunFilter
from tenants.errors import Invalid, Problem
from webapp.dashboard.words import STATUS_BY_NAME, STATUS_WORDS

MAX_VALUES: Final = 20  # of one kind
PERIODS: Final = ("1h", "24h", "7d", "30d")
"""What the form offers; an address may name any duration."""


class Chip(NamedTuple):
    """One condition that holds, and the address without it."""

    sentence: str
    query_without: str


class Filters(NamedTuple):
    """The conditions of a list; each holds any of its values, but only one period."""

    statuses: tuple[str, ...] = ()  # names as in the address, see `Word.name`
    tasks: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()  # stored names: task/<id> for a task's own
    bulks: tuple[str, ...] = ()  # ids of bulk actions, for the runs they canceled or made
    projects: tuple[str, ...] = ()  # slugs
    periods: tuple[str, ...] = ()  # a duration until now; at most one
    since: tuple[str, ...] = ()  # a time in UTC, see `time_text`; at most one, as the next
    until: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The conditions as key and value, in the order they are read out."""
        kinds = zip(KEYS, self, strict=True)
        return [(key, value) for key, values in kinds for value in values]

    @property
    def query(self) -> str:
        """The conditions as the query of an address, "" for none."""
        return urlencode(self.pairs)

    @property
    def chips(self) -> list[Chip]:
        """Each condition as a sentence with its way out."""
        pairs = self.pairs
        return [
            Chip(_sentence(key, value), urlencode([pair for pair in pairs if pair != (key, value)]))
            for key, value in pairs
        ]

    def phrase(self, noun: str) -> str:
        """Give what the shown runs are, to stand behind their number.

        >>> Filters(statuses=("failed",), tasks=("pdf",), periods=("24h",)).phrase("runs")
        'failed runs of pdf in the last 24 h'
        """
        words = [_word_of(name).lower() for name in self.statuses]
        parts = [f"{_either(words)} {noun}".strip()]
        for opening, values in (
            ("of", self.tasks),
            ("in", self.regions),
            ("on version", self.versions),
            ("tagged", self.tags),
            ("in queue", self.queues),
            ("reached by", self.bulks),
            ("in project", self.projects),
            ("in the last", tuple(period_text(period) for period in self.periods)),
            ("from", [read_time(text) for text in self.since]),
            ("to", [read_time(text) for text in self.until]),
        ):
            if values:
                parts.append(f"{opening} {_either(values)}")
        return " ".join(parts)

    def wanted(self, now: datetime) -> RunFilter:
        """Give what the selector is asked for; projects are narrowed by whoever knows them."""
        begins = [_time_of(text) for text in self.since]
        begins += [now - timedelta(seconds=seconds_of(text) or 0) for text in self.periods]
        return RunFilter(
            statuses=[str(STATUS_BY_NAME[name]) for name in self.statuses],
            tasks=self.tasks,
            regions=self.regions,
            versions=self.versions,
            tags=self.tags,
            queues=self.queues,
            bulk_actions=self.bulks,
            created_from=max(begins, default=None),
            created_to=_time_of(self.until[0]) if self.until else None,
        )

    def between(self, since: str, until: str) -> Filters:
        """Give the same conditions for another stretch of time."""
        return self._replace(periods=(), since=(since,), until=(until,))

    def with_status(self, name: str) -> str:
        """Give the query of the same list with only this state, or with any if it has only this."""
        statuses = () if self.statuses == (name,) else (name,)
        return self._replace(statuses=statuses).query


KEYS: Final = (
    "status",
    "task",
    "region",
    "version",
    "tag",
    "queue",
    "bulk",
    "project",
    "period",
    "from",
    "to",
)
TIME: Final = "%Y-%m-%dT%H:%M:%S"


def read_filters(values: dict[str, list[str]]) -> Filters:
    """Give the conditions of an address; empty values and repeats say nothing.

    The last period wins. Raise `Invalid` for a status that does not exist, a period that is no
    duration, and for too many values.
    """
    kept = [tuple(dict.fromkeys(filter(None, values.get(key, [])))) for key in KEYS]
    for key, found in zip(KEYS, kept, strict=True):
        if len(found) > MAX_VALUES:
            raise Invalid(f"{key}: at most {MAX_VALUES} values", (Problem(key, "too many"),))
    filters = Filters(*kept)
    for name in filters.statuses:
        if name not in STATUS_BY_NAME:
            known = ", ".join(STATUS_BY_NAME)
            raise Invalid(f"status: there is no {name!r}; there are {known}")
    for period in filters.periods:
        if seconds_of(period) is None:
            raise Invalid(f"period: {period!r} is no duration such as 24h")
    for text in (*filters.since, *filters.until):
        _time_of(text)
    return filters._replace(
        periods=filters.periods[-1:], since=filters.since[-1:], until=filters.until[-1:]
    )


def time_text(at: datetime, *, round_up: bool = False) -> str:
    """Give a time as an address has it: UTC, whole seconds.

    >>> time_text(datetime(2026, 11, 22, 12, 0, 1, 500, tzinfo=UTC), round_up=True)
    '2026-11-22T12:00:02'
    """
    exact = at.astimezone(UTC)
    if round_up and exact.microsecond:
        exact += timedelta(seconds=1)
    return exact.strftime(TIME)


def read_time(text: str) -> str:
    """Give a time of an address as it is read.

    >>> read_time("2026-11-22T12:00:02")
    '2026-11-22 12:00:02'
    """
    return text.replace("T", " ")


def _time_of(text: str) -> datetime:
    """Give the time that an address names, or raise `Invalid`."""
    try:
        return datetime.strptime(text, TIME).replace(tzinfo=UTC)
    except ValueError:
        raise Invalid(f"{text!r} is no time in UTC such as 2026-11-22T12:00:00") from None


def period_text(period: str) -> str:
    """Give a duration as it is read: its number and unit apart when it has only one.

    >>> period_text("24h"), period_text("2h30m")
    ('24 h', '2h30m')
    """
    number, unit = period[:-1], period[-1:]
    return f"{number} {unit}" if number.isdecimal() else period


def _sentence(key: str, value: str) -> str:
    if key == "bulk":
        return f"reached by {value}"
    if key == "period":
        return f"in the last {period_text(value)}"
    if key in {"from", "to"}:
        return f"{key} {read_time(value)} UTC"
    return f"{key} is {_word_of(value) if key == 'status' else value}"


def _word_of(name: str) -> str:
    return STATUS_WORDS[STATUS_BY_NAME[name]].text


def _either(values: tuple[str, ...] | list[str]) -> str:
    return " or ".join(values)
