"""The file of results: read, merged, written, shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.rows import KEPT, Row

BEGIN = "<!-- figures: begin -->"
END = "<!-- figures: end -->"
HEAD = ("row", "value", "beside", "its value", "ratio", "how")


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
    return f"{number}/s" if unit == "1/s" else f"{number} {unit}"


def cells(row: Row) -> tuple[str, ...]:
    """Give one line of the table, in the order of `HEAD`."""
    return (
        row.name,
        shown(row.value, row.unit),
        row.peer or "",
        "" if row.peer is None else shown(row.peer_value, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}x",
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
    """Give the table for a page."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(_markdown_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_table(page: str, rows: Sequence[Row]) -> str:
    """Give the page with the table between its marks, or raise `NoPlaceForFigures`."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise NoPlaceForFigures(f"the page has no {BEGIN} and {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{markdown_table(rows)}\n{END}", page, count=1)


def _markdown_cells(row: Row) -> tuple[str, ...]:
    name, *rest = cells(row)
    return (f"`{name}`", *(text.replace("|", "\\|") for text in rest))
