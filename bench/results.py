"""The file of results: read, merged, written, shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.rows import KEPT, Goal, Row

BEGIN = "<!-- figures: begin -->"
END = "<!-- figures: end -->"
HEAD = ("row", "value", "goal", "beside", "its value", "ratio", "how")
SUMMARY_HEAD = ("", "value", "goal", "beside", "ratio")


class NoPlaceForFigures(Exception):
    """The page has no marks between which the table goes."""


def read_rows(path: Path) -> list[Row]:
    """Give the rows of an earlier run; none when there is no file."""
    if not path.exists():
        return []
    return [Row(**values) for values in json.loads(path.read_text(encoding="utf-8"))]


def merged(earlier: Iterable[Row], now: Iterable[Row]) -> list[Row]:
    """Give all rows in the kept order; those of `now` replace those of `earlier`."""
    by_name = {row.name: row for row in (*earlier, *now)}
    return [by_name[name] for name in KEPT if name in by_name]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    text = json.dumps([row.to_json() for row in rows], indent=2, ensure_ascii=False)
    fresh.write_text(f"{text}\n", encoding="utf-8")
    fresh.replace(path)


def shown(value: float | None, unit: str) -> str:
    """Give a figure as people read it: no more digits than mean something.

    >>> shown(1834.21, "1/s"), shown(7.318, "ms"), shown(0.587, "us"), shown(1.04, "x")
    ('1,834/s', '7.3 ms', '0.59 us', '1.04')
    """
    if value is None:
        return "-"
    if unit == "x":
        return f"{value:.2f}"
    number = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
    return _with_unit(number, unit)


def shown_goal(goal: Goal | None, unit: str) -> str:
    """Give a goal as people read it.

    >>> shown_goal(Goal(1500, is_most=False), "1/s"), shown_goal(Goal(0.2, False, True), "1/s")
    ('≥ 1,500/s', '≥ 0.2x')
    """
    if goal is None:
        return ""
    bound = f"{goal.bound:,g}x" if goal.is_ratio else _with_unit(f"{goal.bound:,g}", unit)
    return f"{'≤' if goal.is_most else '≥'} {bound}"


def cells(row: Row) -> tuple[str, ...]:
    """Give one line of the table, in the order of `HEAD`."""
    return (
        row.name,
        shown(row.value, row.unit),
        shown_goal(KEPT[row.name].goal, row.unit),
        row.peer or "",
        "" if row.peer is None else shown(row.peer_value, row.unit),
        "" if row.ratio is None else f"{row.ratio:.3g}x",
        row.note,
    )


def text_table(rows: Sequence[Row]) -> str:
    """Give the table for a terminal: figures in columns, each note below its row."""
    lines = [HEAD[:-1], *(cells(row)[:-1] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD) - 1)]
    printed = ["  ".join(text.ljust(width) for text, width in zip(lines[0], widths, strict=True))]
    for row, line in zip(rows, lines[1:], strict=True):
        printed.append("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)))
        printed.append(f"    {row.note}")
    return "\n".join(line.rstrip() for line in printed)


def markdown_table(rows: Sequence[Row]) -> str:
    """Give the table of everything for a page."""
    return _table(HEAD, [(f"`{name}`", *rest) for name, *rest in map(cells, rows)])


def markdown_summary(rows: Sequence[Row]) -> str:
    """Give the table of what has a goal for a page, in words; a missed goal stands out."""
    return _table(SUMMARY_HEAD, [_summed_up(row) for row in rows if KEPT[row.name].goal])


def with_table(page: str, table: str) -> str:
    """Give the page with the table between its marks, or raise `NoPlaceForFigures`."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise NoPlaceForFigures(f"the page has no {BEGIN} and {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{table}\n{END}", page, count=1)


def _with_unit(number: str, unit: str) -> str:
    if unit == "x":
        return number
    return f"{number}/s" if unit == "1/s" else f"{number} {unit}"


def _summed_up(row: Row) -> tuple[str, ...]:
    _, value, goal, peer, theirs, ratio, _ = cells(row)
    kept = KEPT[row.name]
    missed = kept.goal is not None and not kept.goal.is_met(row)
    beside = f"{peer}: {theirs}" if peer else ""
    return (kept.means, value, f"**missed:** {goal}" if missed else goal, beside, ratio)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    escaped = [[text.replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *escaped))
