"""The query of a run list: `filter[...]` and `page[...]`, as the public protocol has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

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
LIST: Final = f"at most {MAX_VALUES}, separated by commas"
MOMENT: Final = "epoch milliseconds or ISO 8601"


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    kind = {"type": "string", **schema}
    return {"in": "query", "name": name, "description": description, "schema": kind}


# What the OpenAPI document says of the queries below.
PAGE_PARAMETERS: Final = [
    _parameter(
        "page[size]",
        "rows of a page",
        type="integer",
        minimum=1,
        maximum=MAX_SIZE,
        default=DEFAULT_SIZE,
    ),
    _parameter("page[after]", "the cursor `next` of a page"),
    _parameter("page[before]", "the cursor `previous` of a page"),
]
RUN_PARAMETERS: Final = [
    _parameter("filter[status]", f"names of states, {LIST}"),
    _parameter("filter[taskIdentifier]", f"tasks, {LIST}"),
    _parameter("filter[tag]", f"tags of which a run has one or more, {LIST}"),
    _parameter("filter[region]", f"regions, {LIST}"),
    _parameter("filter[queue]", f"names of queues, {LIST}"),
    _parameter("filter[version]", f"versions, {LIST}"),
    _parameter("filter[batch]", f"ids of batches, {LIST}"),
    _parameter("filter[bulkAction]", f"ids of bulk actions whose results are meant, {LIST}"),
    _parameter("filter[machine]", f"machine presets, {LIST}"),
    _parameter("filter[isTest]", "test runs only, or none", enum=["true", "false"]),
    _parameter("filter[createdAt][from]", MOMENT),
    _parameter("filter[createdAt][to]", MOMENT),
    _parameter("filter[createdAt][period]", "a duration such as 7d, until now"),
    *PAGE_PARAMETERS,
]


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
