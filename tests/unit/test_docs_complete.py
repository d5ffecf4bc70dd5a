"""What the pages of `docs/` list is what the code has: nothing missing, nothing made up."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_dependencies_lists_exactly_the_direct_dependencies() -> None:
    """Each direct dependency has a line that says why, and each line is a direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    direct = {_name_of(line) for lines in (project["dependencies"], *extras) for line in lines}
    assert _first_cells("dependencies.md") == direct


def _name_of(requirement: str) -> str:
    return re.split(r"[\[<>=~ ]", requirement, maxsplit=1)[0]


def _first_cells(page: str) -> set[str]:
    """Give the names in backticks that begin the rows of a page's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", (DOCS / page).read_text("utf-8"), re.MULTILINE))
