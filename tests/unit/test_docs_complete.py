"""What the pages of `docs/` list is what the code has: nothing missing, nothing made up."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from runs.states_doc import PAGE, with_states
from webapp.embedded.environment import DEVELOPMENT_DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
READERS = (
    "webapp/env.py",
    "webapp/embedded/environment.py",
    "webapp/management/commands/seed_demo.py",
    "supervisor/env.py",
    "compute/gateway/env.py",
    "compute/reading.py",
    "crossfade/cli/environment.py",
    "crossfade/runner/settings.py",
)
# What the stack hands to every process of it, for Python, Django and the C library.
# What cancels is no error to its reader, and no run waits yet.
NOT_ERRORS = {"TASK_RUN_CANCELLED", "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS"}
NOT_OURS = {"DJANGO_SETTINGS_MODULE", "MALLOC_ARENA_MAX"}


def test_dependencies_lists_exactly_the_direct_dependencies() -> None:
    """Each direct dependency has a line that says why, and each line is a direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    direct = {_name_of(line) for lines in (project["dependencies"], *extras) for line in lines}
    assert _first_cells("dependencies.md") == direct


def test_configuration_lists_every_variable() -> None:
    """Every variable that a process reads, or that the embedded stack sets for it, is explained."""
    named = {
        name
        for source in READERS
        for name in re.findall(
            r'"([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])"', (ROOT / source).read_text()
        )
    }
    explained = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (DOCS / "configuration.md").read_text()))
    assert named - explained - NOT_OURS == set()


def test_configuration_shows_the_embedded_defaults() -> None:
    """The page's table of the embedded stack's own values is the one the stack uses."""
    page = (DOCS / "configuration.md").read_text("utf-8")
    table = page.partition("| variable | embedded |\n")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (\w+) \|$", table, re.MULTILINE)) == dict(
        DEVELOPMENT_DEFAULTS
    )


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of a page names a file that is there."""
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    broken = {
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    }
    assert broken == set()


def _name_of(requirement: str) -> str:
    return re.split(r"[\[<>=~ ]", requirement, maxsplit=1)[0]


def _first_cells(page: str) -> set[str]:
    """Give the names in backticks that begin the rows of a page's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", (DOCS / page).read_text("utf-8"), re.MULTILINE))


def test_run_states_says_what_the_table_of_states_says() -> None:
    """The page's tables are those that `runs/states.py` gives, word for word."""
    page = PAGE.read_text("utf-8")
    assert page == with_states(page)


def test_the_errors_page_has_every_status_and_every_code_of_ours() -> None:
    """What a router can answer, and what the engine or the runner can end a run with."""
    page = (DOCS / "errors.md").read_text("utf-8")
    calls, _, runs = page.partition("## Of a run")
    api = (ROOT / "webapp" / "api").glob("*.py")
    stated = {
        int(status)
        for source in (*api, ROOT / "webapp" / "middleware.py")
        for status in re.findall(
            r"(?:ApiError|ErrorAnswer|_says|_fixed)\((\d{3})", source.read_text()
        )
    }
    assert stated - set(map(int, re.findall(r"^\| (\d{3}) \|", calls, re.MULTILINE))) == set()
    sources = [
        *(ROOT / "runs" / "services").glob("*.py"),
        *(ROOT / "runs").glob("stalls.py"),
        *(ROOT / "runs").glob("batches.py"),
        *(ROOT / "crossfade" / "runner").glob("*.py"),
        *(ROOT / "supervisor").rglob("*.py"),
    ]
    named = {
        code
        for source in sources
        for code in re.findall(
            r'"((?:TASK_|COULD_NOT_|MAX_DURATION_|PAYLOAD_TOO_)[A-Z_]+)"', source.read_text()
        )
    }
    explained = set(re.findall(r"^\| `(\w+)` \|", runs, re.MULTILINE))
    assert named - explained - NOT_ERRORS == set()
    assert explained - named == set()
