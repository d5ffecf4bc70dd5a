"""`python -m bench.pages`: put the latest figures into the pages that show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.results import markdown_summary, markdown_table, read_rows, with_table
from bench.rows import Row

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "latest.json"
PAGES: Mapping[Path, Callable[[Sequence[Row]], str]] = {
    ROOT / "README.md": markdown_summary,
    ROOT / "docs" / "performance.md": markdown_table,
}


def write_pages(rows: Sequence[Row]) -> None:
    """Write the table of every page anew; what stands around it stays."""
    for page, table in PAGES.items():
        text = page.read_text(encoding="utf-8")
        page.write_text(with_table(text, table(rows)), encoding="utf-8")


if __name__ == "__main__":
    write_pages(read_rows(RESULTS))
