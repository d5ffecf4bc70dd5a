"""`python -m bench.tables`: the figures of `latest.json` as the table of the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "latest.json"
BEGIN = "<!-- figures: begin, written by python -m bench.tables -->\n"
END = "<!-- figures: end -->"
NOT_MEASURED = (
    "Not measured yet: `make bench` measures, `python -m bench.tables` writes the table.\n"
)
HEAD = "| figure | ours | beside | theirs | ratio |\n|---|---|---|---|---|\n"
WHOLE_FROM = 100  # a figure this large needs no decimals


def figures_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Give the Markdown table of benchmark rows, in their order; a row without a value says so."""
    if not rows:
        return NOT_MEASURED
    return HEAD + "".join(_line(row) for row in rows)


def with_figures(page: str, table: str) -> str:
    """Give the page with the table between its marks. Raise ValueError when a mark is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marks for the figures")
    return f"{before}{BEGIN}{table}{END}{after}"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Give the rows of a result file, none when nothing was measured yet."""
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return rows


def main() -> None:
    """Write the README's table anew."""
    readme = ROOT / "README.md"
    table = figures_table(read_rows(RESULTS))
    readme.write_text(with_figures(readme.read_text("utf-8"), table), "utf-8")


def _line(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return f"| `{row['name']}` | not measured: {row.get('note') or 'no reason given'} | | | |\n"
    peer, theirs, ratio = row.get("peer") or "", row.get("peer_value"), row.get("ratio")
    cells = [
        f"`{row['name']}`",
        f"{_number(row['value'])} {row.get('unit') or ''}".strip(),
        peer,
        "" if theirs is None else _number(theirs),
        "" if ratio is None else f"{_number(ratio)}x",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _number(value: float) -> str:
    """Give a figure with three digits that mean something.

    >>> _number(1523.4), _number(0.2134), _number(12.0)
    ('1,523', '0.213', '12')
    """
    return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.3g}"


if __name__ == "__main__":
    main()
