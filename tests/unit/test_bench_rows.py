"""The arithmetic of the benchmarks, and that every row that is promised is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.figures import median, percentile, times_better
from bench.groups.trigger import PATH
from bench.load import EMPTY_PATH
from bench.pages import PAGES, RESULTS
from bench.results import markdown_summary, merged, read_rows, text_table, with_table
from bench.rows import GROUPS, KEPT, Row, complete
from webapp.dashboard.machine_paths import is_machine_path

PROMISED = {
    "stack.ready_s",
    "stack.idle_pss_mb",
    "placement.decision_us_p50",
    "placement.decision_vs_fastest_sdk",
    "trigger.http_rps",
    "trigger.http_ms_p99",
    "trigger.http_vs_pgbench",
    "trigger.http_vs_empty_view",
    "trigger.http_vs_restate",
    "trigger.batch_runs_per_s",
    "dequeue.runs_per_s_1k",
    "dequeue.runs_per_s_100k",
    "dequeue.runs_per_s_1m",
    "dequeue.slowdown_1k_to_1m",
    "dequeue.slowdown_blocked_tenant",
    "dequeue.slowdown_10k_lanes",
    "queue.move_10k_s",
    "runs.list_tag_ms_p95",
    "runs.list_task_ms_p95",
    "start.cold_ms_p50",
    "start.cold_ms_p99",
    "supervisor.idle_rss_mb",
    "runner.idle_rss_mb",
    "propagation.flip_ms_p99",
}


def test_every_promised_row_is_kept() -> None:
    """The names scripts compare are all there."""
    assert set(KEPT) >= PROMISED


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_that_could_not_be_measured_writes_its_rows(group: str) -> None:
    """A row without a value says why, and is never left out."""
    rows = complete(group, [], why="no such machine")
    assert {row.name for row in rows} == {n for n, kept in KEPT.items() if kept.group == group}
    assert all(row.value is None and row.note == "no such machine" for row in rows)


def test_a_new_row_replaces_the_old_one() -> None:
    """Running one group leaves the rows of the others alone."""
    old = [
        Row(name="stack.ready_s", value=9, unit="s"),
        Row(name="stack.idle_pss_mb", value=1, unit="MB"),
    ]
    now = [Row(name="stack.ready_s", value=5, unit="s")]
    assert {row.name: row.value for row in merged(old, now)} == {
        "stack.ready_s": 5,
        "stack.idle_pss_mb": 1,
    }
    assert "stack.ready_s" in text_table(now)


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "ratio"), [(200, 100, "rate", 2.0), (5, 10, "time", 2.0)]
)
def test_more_than_one_is_better(ours: float, theirs: float, kind: str, ratio: float) -> None:
    """Rates are ours over theirs, times theirs over ours."""
    assert times_better(ours, theirs, kind) == ratio  # type: ignore[arg-type]


def test_percentiles_are_values_that_occurred() -> None:
    """The middle and the tail of known values."""
    values = [float(number) for number in range(1, 101)]
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert 99 <= percentile(values, 99) <= 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_the_figures_that_were_measured(page: Path) -> None:
    """The table of a page is the one that the latest results give."""
    text = page.read_text(encoding="utf-8")
    assert text == with_table(text, PAGES[page](read_rows(RESULTS)))


def test_a_missed_goal_stands_out() -> None:
    """The summary names what was reached and what was not; what was not measured was missed."""
    name = "stack.ready_s"
    assert "missed" not in markdown_summary([Row(name=name, value=90, unit="s")])
    assert "**missed:** ≤ 90 s" in markdown_summary([Row(name=name, value=90.1, unit="s")])
    assert "missed" in markdown_summary([Row(name=name, value=None, unit="s")])
    compared = Row(name="trigger.http_vs_pgbench", value=9000, unit="1/s", ratio=0.19)
    assert "**missed:** ≥ 0.2x" in markdown_summary([compared])


def test_the_empty_view_passes_what_a_trigger_passes() -> None:
    """A view behind sessions and forms would be slower than it is, and we would look better."""
    assert is_machine_path(PATH)
    assert is_machine_path(EMPTY_PATH)
