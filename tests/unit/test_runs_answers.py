"""Queries of run lists, and runs as the public API shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs.models import TaskRun
from runs.selectors import RunFamily
from runs.states import RunStatus
from tenants.errors import Invalid
from webapp.api.run_answers import (
    MODERN_API,
    common_fields,
    error_value,
    item_answer,
    packet_value,
    run_answer,
)
from webapp.api.run_query import (
    PAGE_PARAMETERS,
    RUN_PARAMETERS,
    RunPageQuery,
    read_page_query,
    read_run_query,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def run(**fields: Any) -> TaskRun:
    """Give a run with nothing set that may be unset."""
    needed = {
        "id": "run_1",
        "task_slug": "hello",
        "status": "PENDING",
        "tags": ["b", "a"],
        "created_at": NOW,
        "updated_at": NOW,
        "payload_type": "application/json",
    }
    return TaskRun(**{**needed, **fields})


def query(**given: str) -> RunPageQuery:
    """Read a query; names are written without their brackets."""
    return read_run_query(_bracketed(given), now=NOW)


def _bracketed(given: dict[str, str]) -> dict[str, str]:
    """Turn `filter_createdAt_from` into `filter[createdAt][from]`."""
    parts = {name: name.split("_") for name in given}
    return {
        first + "".join(f"[{p}]" for p in rest): given[name]
        for name, (first, *rest) in parts.items()
    }


class Asked(dict[str, str]):
    """An empty query that notes the keys it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_asked.add(key)
        return default


def test_every_key_of_a_query_is_in_the_api_document() -> None:
    """What is read is documented, and nothing else is."""
    runs, page = Asked(), Asked()
    read_run_query(runs, now=NOW)
    read_page_query(page)
    assert runs.keys_asked == {one["name"] for one in RUN_PARAMETERS}
    assert page.keys_asked == {one["name"] for one in PAGE_PARAMETERS}


def keys_refused(**given: str) -> list[str]:
    """Give the keys that a refused query names."""
    with pytest.raises(Invalid) as refused:
        query(**given)
    return [problem.key for problem in refused.value.problems]


# stored status -> name today, name without a version header, queued, executing, waiting, completed
STATUSES = {
    "PENDING": ("QUEUED", "QUEUED", "queued"),
    "DELAYED": ("DELAYED", "DELAYED", "queued"),
    "PENDING_VERSION": ("PENDING_VERSION", "PENDING_VERSION", "queued"),
    "DEQUEUED": ("DEQUEUED", "EXECUTING", "executing"),
    "EXECUTING": ("EXECUTING", "EXECUTING", "executing"),
    "RETRYING_AFTER_FAILURE": ("EXECUTING", "REATTEMPTING", "executing"),
    "WAITING_TO_RESUME": ("WAITING", "FROZEN", "waiting"),
    "COMPLETED_SUCCESSFULLY": ("COMPLETED", "COMPLETED", "success"),
    "COMPLETED_WITH_ERRORS": ("FAILED", "FAILED", "failed"),
    "CANCELED": ("CANCELED", "CANCELED", "cancelled"),
    "CRASHED": ("CRASHED", "CRASHED", "failed"),
    "SYSTEM_FAILURE": ("SYSTEM_FAILURE", "SYSTEM_FAILURE", "failed"),
    "EXPIRED": ("EXPIRED", "EXPIRED", "failed"),
    "TIMED_OUT": ("TIMED_OUT", "TIMED_OUT", "failed"),
}
FLAGS = {
    "queued": {"isQueued"},
    "executing": {"isExecuting"},
    "waiting": {"isWaiting"},
    "success": {"isCompleted", "isSuccess"},
    "failed": {"isCompleted", "isFailed"},
    "cancelled": {"isCompleted", "isFailed", "isCancelled"},
}


def test_the_table_of_statuses_is_whole() -> None:
    """Every stored status has its row below."""
    assert set(STATUSES) == {status.value for status in RunStatus}


@pytest.mark.parametrize("status", sorted(STATUSES))
def test_a_status_is_shown_by_its_name_and_flags(status: str) -> None:
    """Names depend on the caller's API version, flags do not."""
    modern, old, kind = STATUSES[status]
    for version, name in ((MODERN_API, modern), (None, old), ("1999-01-01", old)):
        fields = common_fields(run(status=status), api_version=version)
        assert fields["status"] == name
        assert {key for key, value in fields.items() if value is True} == FLAGS[kind]


def test_unset_keys_are_left_out() -> None:
    """A run with nothing set shows no null anywhere, in no view."""
    bare = run()
    family = RunFamily(bare, None, None, [run(id="run_2")])
    for answer in (
        run_answer(family, api_version=MODERN_API),
        item_answer(bare, environment_slug="prod", api_version=None),
    ):
        assert "null" not in json.dumps(answer)
        assert not {"version", "region", "ttl", "startedAt", "metadata", "payload"} & set(answer)
    assert run_answer(family, api_version=None)["relatedRuns"]["children"][0]["id"] == "run_2"


def test_set_keys_are_shown() -> None:
    """Everything that is set is there, moments as ISO 8601 with milliseconds, tags sorted."""
    shown = run_answer(
        RunFamily(
            run(
                status="COMPLETED_SUCCESSFULLY",
                payload='{"a":1}',
                output='{"json":{"b":2},"meta":{}}',
                output_type="application/super+json",
                started_at=NOW,
                completed_at=NOW + timedelta(milliseconds=1500),
                region="us-east-1",
                metadata='{"k":"v"}',
                usage_ms=12,
                attempt_number=2,
            ),
            run(id="run_root"),
            run(id="run_parent"),
            [],
        ),
        api_version=MODERN_API,
    )
    assert (shown["payload"], shown["output"], shown["metadata"]) == (
        {"a": 1},
        {"b": 2},
        {"k": "v"},
    )
    assert shown["finishedAt"] == "2026-11-22T12:00:01.500Z"
    assert (shown["tags"], shown["durationMs"], shown["attemptCount"]) == (["a", "b"], 12, 2)
    related = shown["relatedRuns"]
    assert (related["root"]["id"], related["parent"]["id"]) == ("run_root", "run_parent")


def test_an_error_is_shown_once_the_run_is_over() -> None:
    """The error of an attempt that is retried is not the run's."""
    error = {"type": "STRING_ERROR", "raw": "no"}
    for status, shown in (("CRASHED", {"message": "no"}), ("EXECUTING", None)):
        family = RunFamily(run(status=status, error=error), None, None, [])
        assert run_answer(family, api_version=None).get("error") == shown


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            {"type": "BUILT_IN_ERROR", "name": "E", "message": "m", "stackTrace": "s"},
            {"name": "E", "message": "m", "stackTrace": "s"},
        ),
        ({"type": "BUILT_IN_ERROR", "message": "m"}, {"message": "m"}),
        ({"type": "INTERNAL_ERROR", "code": "C"}, {"name": "C", "message": "C"}),
        ({"type": "INTERNAL_ERROR", "code": "C", "message": "m"}, {"name": "C", "message": "m"}),
        ({"type": "CUSTOM_ERROR", "raw": '{"a":1}'}, {"message": '{"a":1}'}),
    ],
)
def test_errors_are_shown_as_customers_read_them(error: Any, shown: Any) -> None:
    """Each kind of error has a message, and what else it has."""
    assert error_value(error) == shown


@pytest.mark.parametrize(
    ("text", "packet_type", "value"),
    [
        ("[1]", "application/json", [1]),
        ('{"json":[1],"meta":{}}', "application/super+json", [1]),
        ("[1]", "application/super+json", [1]),
        ("[1]", "text/plain", "[1]"),
        ("{", "application/json", "{"),
        ("NaN", "application/json", "NaN"),
        ("[" * 5000 + "]" * 5000, "application/json", "[" * 5000 + "]" * 5000),
    ],
)
def test_a_packet_that_cannot_be_read_is_shown_as_text(
    text: str, packet_type: str, value: Any
) -> None:
    """What task code stored never makes a run, or a list with it, unreadable."""
    assert packet_value(text, packet_type) == value
    shown = common_fields(run(metadata=text, metadata_type=packet_type), api_version=None)
    assert shown["metadata"] == value


# -- queries --------------------------------------------------------------------------------------


def test_no_filter_is_every_run() -> None:
    """An empty query is the first page of all runs."""
    page = query()
    assert (page.size, page.after, page.before) == (25, None, None)
    assert not any(page.wanted)


def test_filters_are_read() -> None:
    """Lists are split by commas, names of statuses become stored ones."""
    wanted = query(
        filter_status="QUEUED,EXECUTING,FAILED,WAITING",
        filter_taskIdentifier="a,b",
        filter_tag="x,,y",
        filter_isTest="false",
        filter_machine="micro",
    ).wanted
    assert wanted.statuses == ("PENDING", "EXECUTING", "COMPLETED_WITH_ERRORS", "WAITING_TO_RESUME")
    assert (wanted.tasks, wanted.tags, wanted.is_test) == (("a", "b"), ("x", "y"), False)


def test_times_are_epoch_milliseconds_or_iso() -> None:
    """`from` and `to` take both; `period` counts back from now, and the later start holds."""
    wanted = query(
        filter_createdAt_from="1700000000000",
        filter_createdAt_to="2026-11-22T12:00:00Z",
        filter_createdAt_period="1h",
    ).wanted
    assert (wanted.created_from, wanted.created_to) == (NOW - timedelta(hours=1), NOW)
    early = query(filter_createdAt_from="2026-11-22T11:30:00").wanted.created_from
    assert early == NOW - timedelta(minutes=30)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("filter_status", "PENDING", "filter[status]"),
        ("filter_machine", "huge", "filter[machine]"),
        ("filter_isTest", "1", "filter[isTest]"),
        ("filter_createdAt_from", "yesterday", "filter[createdAt][from]"),
        ("filter_createdAt_to", "9" * 17, "filter[createdAt][to]"),
        ("filter_createdAt_to", "9" * 40, "filter[createdAt][to]"),
        ("filter_createdAt_period", "-1d", "filter[createdAt][period]"),
        ("filter_tag", ",".join("t" * 101), "filter[tag]"),
        ("page_size", "0", "page[size]"),
        ("page_size", "101", "page[size]"),
        ("page_size", "1e2", "page[size]"),
        ("page_size", "\u0661", "page[size]"),
        ("page_size", "0000000019999999", "page[size]"),
        ("page_size", "9" * 5000, "page[size]"),
    ],
)
def test_a_wrong_query_names_its_key(key: str, value: str, named: str) -> None:
    """Values outside the list, and sizes outside the bound in whatever spelling, are refused."""
    assert keys_refused(**{key: value}) == [named]


def test_every_wrong_key_is_named() -> None:
    """One answer tells all that is wrong."""
    assert len(keys_refused(filter_status="x", page_size="0", filter_isTest="x")) == 3
