"""The query of a run list: `filter[...]` and `page[...]`, as the public protocol has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from runs.durations import seconds_of
from runs.machines import PRESETS
from runs.run_filter import RunFilter
from tenants.errors import Invalid, Problem
from webapp.api.run_answers import STORED_BY_NAME

DEFAULT_SIZE: Final = 25
MAX_SIZE: Final = 100
MAX_VALUES: Final = 100
MAX_EPOCH_MS: Final = 253_402_300_799_000
MAX_DIGITS: Final = 18


class PageQuery(NamedTuple):
    """A page of a list."""

    size: int
    after: str | None
    before: str | None


class RunPageQuery(NamedTuple):
    """A page of a filtered list."""

    wanted: RunFilter
    size: int
    after: str | None
    before: str | None


def read_page_query(query: Mapping[str, str]) -> PageQuery:
    """Give the page that a query asks for, or raise `Invalid`."""
    problems: list[Problem] = []
    size = _Reader(query, datetime.now(UTC), problems).size()
    _raise_any(problems)
    return PageQuery(size, query.get("page[after]"), query.get("page[before]"))


def read_run_query(query: Mapping[str, str], *, now: datetime) -> RunPageQuery:
    """Give the page that a query asks for, or raise `Invalid` naming every wrong key."""
    problems: list[Problem] = []
    reader = _Reader(query, now, problems)
    wanted = RunFilter(
        statuses=reader.known("filter[status]", STORED_BY_NAME),
        tasks=reader.values("filter[taskIdentifier]"),
        tags=reader.values("filter[tag]"),
        regions=reader.values("filter[region]"),
        queues=reader.values("filter[queue]"),
        versions=reader.values("filter[version]"),
        batches=reader.values("filter[batch]"),
        bulk_actions=reader.values("filter[bulkAction]"),
        machines=reader.known("filter[machine]", {name: name for name in PRESETS}),
        is_test=reader.switch("filter[isTest]"),
        created_from=reader.created_from(),
        created_to=reader.moment("filter[createdAt][to]"),
    )
    page = RunPageQuery(wanted, reader.size(), query.get("page[after]"), query.get("page[before]"))
    _raise_any(problems)
    return page


def _raise_any(problems: list[Problem]) -> None:
    if problems:
        raise Invalid(f"{problems[0].key}: {problems[0].message}", tuple(problems))


class _Reader(NamedTuple):
    query: Mapping[str, str]
    now: datetime
    problems: list[Problem]

    def values(self, key: str) -> tuple[str, ...]:
        found = tuple(part for part in self.query.get(key, "").split(",") if part)
        if len(found) > MAX_VALUES:
            self.problems.append(Problem(key, f"should have at most {MAX_VALUES} values"))
            return ()
        return found

    def known(self, key: str, names: Mapping[str, str]) -> tuple[str, ...]:
        found = self.values(key)
        unknown = [name for name in found if name not in names]
        if unknown:
            known = ", ".join(sorted(names))
            self.problems.append(Problem(key, f'"{unknown[0]}" is none of {known}'))
            return ()
        return tuple(names[name] for name in found)

    def switch(self, key: str) -> bool | None:
        text = self.query.get(key)
        if text is None:
            return None
        if text not in {"true", "false"}:
            self.problems.append(Problem(key, f'"{text}" is neither true nor false'))
        return text == "true"

    def created_from(self) -> datetime | None:
        """Give the later of `from` and now minus `period`."""
        start = self.moment("filter[createdAt][from]")
        key = "filter[createdAt][period]"
        text = self.query.get(key)
        if text is None:
            return start
        seconds = seconds_of(text)
        if seconds is None:
            self.problems.append(Problem(key, f'"{text}" is no duration such as 7d'))
            return start
        since = self.now - timedelta(seconds=seconds)
        return since if start is None else max(start, since)

    def moment(self, key: str) -> datetime | None:
        text = self.query.get(key)
        if text is None:
            return None
        moment = read_moment(text)
        if moment is None:
            self.problems.append(Problem(key, f'"{text}" is no time: epoch ms or ISO 8601'))
        return moment

    def size(self) -> int:
        key = "page[size]"
        text = self.query.get(key)
        if text is None:
            return DEFAULT_SIZE
        if not _is_whole(text) or not 1 <= int(text) <= MAX_SIZE:
            self.problems.append(Problem(key, f"should be a whole number from 1 to {MAX_SIZE}"))
            return DEFAULT_SIZE
        return int(text)


def _is_whole(text: str) -> bool:
    return len(text) <= MAX_DIGITS and text.isascii() and text.isdecimal()


def read_moment(text: str) -> datetime | None:
    """Give the time that epoch milliseconds or an ISO date mean; None: they mean none."""
    if _is_whole(text):
        ms = int(text)
        return datetime.fromtimestamp(ms / 1000, UTC) if ms <= MAX_EPOCH_MS else None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
