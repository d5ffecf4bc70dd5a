"""`python -m bench.pages`: put the latest figures into the pages that show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.results import read_rows, with_table
from bench.rows import Row

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "latest.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")


def write_pages(rows: Sequence[Row]) -> None:
    """Write the table of every page anew; what stands around it stays."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_table(text, rows), encoding="utf-8")


if __name__ == "__main__":
    write_pages(read_rows(RESULTS))
