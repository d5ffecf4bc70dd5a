"""Which runs a list shows, as its address says. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlencode

from runs.selectors import RunFilter
from tenants.errors import Invalid, Problem
from webapp.dashboard.words import STATUS_BY_NAME, STATUS_WORDS

MAX_VALUES: Final = 20  # of one kind


class Chip(NamedTuple):
    """One condition that holds, and the address without it."""

    sentence: str
    query_without: str


class Filters(NamedTuple):
    """The conditions of a list; each holds any of its values."""

    statuses: tuple[str, ...] = ()  # names as in the address, see `Word.name`
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

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

    @property
    def wanted(self) -> RunFilter:
        """What the selector is asked for."""
        statuses = [str(STATUS_BY_NAME[name]) for name in self.statuses]
        return RunFilter(statuses=statuses, tasks=self.tasks, tags=self.tags)


KEYS: Final = ("status", "task", "tag")


def read_filters(values: dict[str, list[str]]) -> Filters:
    """Give the conditions of an address; empty values and repeats say nothing.

    Raise `Invalid` for a status that does not exist, and for too many values.
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
    return filters


def _sentence(key: str, value: str) -> str:
    shown = STATUS_WORDS[STATUS_BY_NAME[value]].text if key == "status" else value
    return f"{key} is {shown}"
