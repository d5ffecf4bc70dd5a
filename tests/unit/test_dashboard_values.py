"""What pages say: words, durations, sentences, filters and the timeline."""

from __future__ import annotations

import doctest
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from runs.count_selectors import RunCounts
from runs.states import FINAL, Event, ExecutionStatus, RunStatus
from tenants.errors import Invalid
from webapp.dashboard import machine_paths, run_filters, run_rows, words
from webapp.dashboard.histogram import histogram
from webapp.dashboard.run_filters import MAX_VALUES, Filters, read_filters
from webapp.dashboard.run_rows import count_sentence, example_for, facets
from webapp.dashboard.run_times import headline, ran, waited
from webapp.dashboard.timeline import MAX_SPANS, timeline
from webapp.dashboard.words import STATUS_BY_NAME, STATUS_WORDS, duration_text, relative_text

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_X = ExecutionStatus


def seconds(count: float) -> timedelta:
    """Give a length of time."""
    return timedelta(seconds=count)


@dataclass
class Run:
    """A run's state and times."""

    status: str = RunStatus.PENDING
    execution_status: str = _X.QUEUED
    task_slug: str = "hello"
    region: str | None = "us-east-1"
    attempt_number: int = 0
    ttl: str | None = None
    max_duration_s: int | None = None
    created_at: datetime = NOW - seconds(60)
    delay_until: datetime | None = None
    first_queued_at: datetime | None = NOW - seconds(60)
    started_at: datetime | None = None
    completed_at: datetime | None = None


ENDED = Run(
    execution_status=_X.FINISHED,
    attempt_number=1,
    started_at=NOW - seconds(50),
    completed_at=NOW - seconds(45),
)


@dataclass
class Snapshot:
    """A recorded state."""

    execution_status: str
    event: str
    at_s: float
    attempt_number: int | None = None
    run_status: str = RunStatus.EXECUTING
    is_valid: bool = True
    created_at: datetime = NOW

    def __post_init__(self) -> None:
        """Reckon the moment it was made."""
        self.created_at = NOW + seconds(self.at_s)


def test_the_examples_in_the_documentation_hold() -> None:
    """What the docstrings show is what the functions give."""
    for module in (words, machine_paths, run_filters, run_rows):
        assert doctest.testmod(module).failed == 0


def test_every_state_has_a_word_of_its_own() -> None:
    """No two states read alike, and each can be named in an address."""
    assert set(STATUS_WORDS) == set(RunStatus)
    assert len(STATUS_BY_NAME) == len(RunStatus)


@pytest.mark.parametrize(
    ("length_s", "text"),
    [
        (-1, "0 ms"),
        (0.412, "412 ms"),
        (0.9996, "1.0 s"),
        (1.84, "1.8 s"),
        (9.99, "9.9 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_name_the_two_units_that_matter(length_s: float, text: str) -> None:
    """A length of time is cut, never rounded up, to what a reader takes in at once."""
    assert duration_text(seconds(length_s)) == text


@pytest.mark.parametrize(
    ("ago_s", "text"),
    [(0.5, "now"), (1, "1 s ago"), (119, "1 min ago"), (7200, "2 h ago"), (-90_000, "in 1 d")],
)
def test_moments_are_told_from_now(ago_s: float, text: str) -> None:
    """A moment is told in the largest unit that fits, before or after now."""
    assert relative_text(NOW - seconds(ago_s), NOW) == text


def test_a_run_waits_until_its_first_attempt() -> None:
    """Waiting counts from when it was queued, or due, to the first attempt, the end, or now."""
    assert waited(Run(), NOW) == seconds(60)
    assert waited(ENDED, NOW) == seconds(10)
    assert waited(Run(first_queued_at=None, delay_until=NOW + seconds(9)), NOW) == seconds(0)
    assert (ran(Run(), NOW), ran(ENDED, NOW)) == (None, seconds(5))


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (Run(), "Run has been queued for 1 min in us-east-1"),
        (Run(attempt_number=1), "Run is queued for attempt 2 in us-east-1"),
        (replace(ENDED, status="COMPLETED_SUCCESSFULLY"), "Run completed in 5.0 s in us-east-1"),
        (
            replace(ENDED, status="COMPLETED_SUCCESSFULLY", region=None, attempt_number=3),
            "Run completed on attempt 3 in 5.0 s",
        ),
        (
            replace(ENDED, status="COMPLETED_WITH_ERRORS", attempt_number=3),
            "Run failed after 3 attempts and 5.0 s in us-east-1",
        ),
        (
            replace(ENDED, status="TIMED_OUT", max_duration_s=5),
            "Run timed out after 5.0 s in us-east-1; it may run for 5 s",
        ),
        (
            Run(status="EXPIRED", execution_status=_X.FINISHED, ttl="10m"),
            "Run expired before it started; its time to live was 10m",
        ),
        (
            Run(status="CANCELED", execution_status=_X.FINISHED),
            "Run was canceled before it started",
        ),
        (
            Run(status="CANCELED", execution_status=_X.PENDING_CANCEL),
            "Run is being canceled; its workload has not stopped yet",
        ),
        (
            Run(status="DELAYED", execution_status=_X.DELAYED, delay_until=NOW + seconds(300)),
            "Run starts in 5 min in us-east-1",
        ),
    ],
)
def test_the_first_line_says_how_a_run_stands(run: Run, sentence: str) -> None:
    """The sentence has the state, what was spent, and the geography where there is one."""
    assert headline(run, NOW) == sentence


@pytest.mark.parametrize("status", RunStatus)
def test_every_state_has_a_first_line(status: RunStatus) -> None:
    """Whatever the state, there is a sentence."""
    run = replace(ENDED, status=status) if status in FINAL else Run(status=status)
    assert headline(run, NOW).startswith(("Run ", "Attempt "))


def test_filters_come_back_from_their_address() -> None:
    """What an address says is kept in order, once each; a chip leads to the rest."""
    filters = read_filters({"status": ["failed", "", "failed"], "task": ["a&b"], "other": ["x"]})
    assert filters == Filters(statuses=("failed",), tasks=("a&b",))
    assert filters.query == "status=failed&task=a%26b"
    assert [chip.sentence for chip in filters.chips] == ["status is Failed", "task is a&b"]
    assert filters.chips[0].query_without == "task=a%26b"
    assert list(filters.wanted(NOW).statuses) == ["COMPLETED_WITH_ERRORS"]


def test_filters_that_cannot_be_are_refused() -> None:
    """An unknown status and too many values are told, not ignored."""
    with pytest.raises(Invalid, match="there is no 'odd'"):
        read_filters({"status": ["odd"]})
    with pytest.raises(Invalid, match="tag: at most"):
        read_filters({"tag": [str(number) for number in range(MAX_VALUES + 1)]})
    with pytest.raises(Invalid, match="'soon' is no duration"):
        read_filters({"period": ["soon"]})


def test_the_last_period_wins() -> None:
    """A form that sends the period it had and the one that was chosen means the latter."""
    filters = read_filters({"period": ["1h", "7d"]})
    assert filters.periods == ("7d",)
    assert filters.wanted(NOW).created_from == NOW - timedelta(days=7)
    assert [chip.sentence for chip in filters.chips] == ["in the last 7 d"]


def test_a_list_says_what_it_is() -> None:
    """The first line counts, and reads as a sentence; what was not counted is not made up."""
    some = Filters(
        statuses=("failed", "crashed"),
        tasks=("pdf",),
        regions=("us-east-1",),
        tags=("blue",),
        periods=("24h",),
    )
    one, many = (
        RunCounts({"CRASHED": 1}, is_complete=True),
        RunCounts({"CRASHED": 9}, is_complete=False),
    )
    rest = "of pdf in us-east-1 tagged blue in the last 24 h"
    assert count_sentence(one, some) == f"1 failed or crashed run {rest}"
    assert count_sentence(None, some) == f"Failed or crashed runs {rest}"
    assert count_sentence(many, Filters()) == "More than 10,000 runs"


def test_times_come_back_from_their_address() -> None:
    """A stretch of time is read as it was written, takes the place of a period, and bounds a list."""
    filters = Filters(periods=("24h",)).between("2026-11-22T11:00:00", "2026-11-22T12:00:00")
    assert filters.query == "from=2026-11-22T11%3A00%3A00&to=2026-11-22T12%3A00%3A00"
    read = read_filters({"from": list(filters.since), "to": list(filters.until)})
    assert read == filters
    assert read.wanted(NOW).created_from == NOW - timedelta(hours=1)
    assert read.wanted(NOW).created_to == NOW
    assert read.phrase("runs") == "runs from 2026-11-22 11:00:00 to 2026-11-22 12:00:00"
    for text in ("today", "2026-11-22", "2026-11-22T25:00:00"):
        with pytest.raises(Invalid, match="is no time in UTC"):
            read_filters({"from": [text]})


def test_bars_are_as_high_as_their_runs_are_many() -> None:
    """Each step that has runs is a bar; the part that failed is marked, and all leads to its runs."""
    hour = timedelta(hours=1)
    steps = {(0, "CRASHED"): 1, (0, "EXECUTING"): 3, (47, "EXECUTING"): 8}
    counts = RunCounts(
        {"CRASHED": 1, "EXECUTING": 11},
        by_step=steps,
        is_complete=True,
        since=NOW - 48 * hour,
        until=NOW,
    )
    drawn = histogram(counts, Filters(tasks=("pdf",), periods=("7d",)))
    assert drawn is not None
    first, last = drawn.bars
    assert (first.x, first.height, first.bad_height) == (0, 20, 5)
    assert (last.x, last.height, last.bad_height, last.top) == (47, 40, 0, 0)
    assert "period" not in first.query
    assert first.query.startswith("task=pdf&from=2026-11-20T12%3A00%3A00&to=2026-11-20T13")
    assert drawn.sentence.startswith("12 runs from 2026-11-20 12:00:00 to 2026-11-22 12:00:00 UTC")
    assert histogram(None, Filters()) is None
    assert histogram(RunCounts({}, is_complete=True), Filters()) is None


def test_states_are_offered_with_their_numbers() -> None:
    """States that have runs lead to those; the chosen one leads back, even when it is empty."""
    counts = RunCounts({"EXECUTING": 1200, "CRASHED": 3}, is_complete=True)
    filters = Filters(statuses=("failed",), tasks=("pdf",))
    shown = {facet.word.text: (facet.number, facet.query) for facet in facets(counts, filters)}
    assert shown == {
        "Executing": ("1,200", "status=executing&task=pdf"),
        "Failed": ("0", "task=pdf"),
        "Crashed": ("3", "status=crashed&task=pdf"),
    }
    assert facets(None, filters) == []


def test_an_empty_list_proposes_what_can_be_done() -> None:
    """The greeting is proposed where it is deployed, or nothing is; else a task there is."""
    assert example_for([]).task == "hello-world"
    assert example_for(["charge", "hello-world"]).task == "hello-world"
    assert example_for(["charge"]) == ("charge", "{}")


def test_a_timeline_has_each_stretch_once() -> None:
    """Waits, starts and attempts follow each other on one axis, with how each ended."""
    spans = timeline(
        [
            Snapshot(_X.QUEUED, "trigger", 0, run_status=RunStatus.PENDING),
            Snapshot(_X.PENDING_EXECUTING, Event.DEQUEUE, 2),
            Snapshot(_X.EXECUTING, Event.START, 3, attempt_number=1),
            Snapshot(_X.EXECUTING, Event.START, 4, attempt_number=1, is_valid=False),
            Snapshot(_X.EXECUTING, Event.RETRY_IN_PLACE, 5, 1, RunStatus.RETRYING_AFTER_FAILURE),
            Snapshot(_X.EXECUTING, Event.START, 6, attempt_number=2),
            Snapshot(_X.FINISHED, Event.SUCCEED, 10),
        ],
        now=NOW + seconds(99),
    )
    assert [(span.label, span.result, span.length) for span in spans] == [
        ("Queued", "", "2.0 s"),
        ("Starting", "", "1.0 s"),
        ("Attempt 1", "failed, to be retried", "2.0 s"),
        ("Waiting to retry", "", "1.0 s"),
        ("Attempt 2", "completed", "4.0 s"),
    ]
    assert [span.offset_percent for span in spans] == [0, 20, 30, 50, 60]
    assert [span.width_percent for span in spans] == [20, 10, 20, 10, 40]
    assert [span.is_wait for span in spans] == [True, False, False, True, False]


def test_the_timeline_of_a_live_run_reaches_to_now() -> None:
    """The last stretch of a run that goes on ends at this moment."""
    begun = [
        Snapshot(_X.QUEUED, "trigger", 0, run_status=RunStatus.PENDING),
        Snapshot(_X.EXECUTING, Event.START, 1, attempt_number=1),
    ]
    last = timeline(begun, now=NOW + seconds(4))[-1]
    assert (last.label, last.result, last.tone, last.length) == (
        "Attempt 1",
        "goes on",
        "live",
        "3.0 s",
    )
    assert timeline([], now=NOW) == []


def test_the_shortest_stretch_can_be_seen_and_the_longest_story_ends() -> None:
    """No bar leaves the axis or vanishes, and a story of thousands of states is cut."""
    story = [
        Snapshot(kind, Event.REQUEUE, number)
        for number, kind in enumerate([_X.QUEUED, _X.PENDING_EXECUTING] * MAX_SPANS)
    ]
    spans = timeline(story, now=NOW + seconds(2 * MAX_SPANS))
    assert len(spans) == MAX_SPANS
    assert all(span.width_percent >= 0.5 for span in spans)
    assert all(span.offset_percent + span.width_percent <= 100.01 for span in spans)
