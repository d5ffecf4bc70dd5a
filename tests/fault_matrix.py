"""`python -m tests.fault_matrix`: the table of `docs/reliability.md`, from the tests themselves.

A test of a fault carries `@pytest.mark.fault(kills=..., step=..., expects=...)`: what dies or goes
wrong, at which step of a run's life, and what must hold all the same. The files are read, never
imported; a test compares the page with them.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "reliability.md"
BEGIN = "<!-- faults: begin, written by python -m tests.fault_matrix -->\n"
END = "<!-- faults: end -->"
KEYS = ("kills", "step", "expects")


class WrongMark(Exception):
    """A mark does not say what it has to; the message names the test."""


class Fault(NamedTuple):
    """One row."""

    kills: str
    step: str
    expects: str
    file: str  # below tests/
    test: str


def list_faults(folder: Path = TESTS) -> list[Fault]:
    """Give every marked test, by what is killed, then by its place. Raise `WrongMark`."""
    found: list[Fault] = []
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                name = f"{path.relative_to(folder)}"
                found += [Fault(*marked, name, node.name) for marked in _marks(node)]
    return sorted(found)


def _marks(test: ast.FunctionDef) -> Iterator[tuple[str, str, str]]:
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
            said = {
                one.arg: one.value.value
                for one in mark.keywords
                if isinstance(one.value, ast.Constant)
            }
            if mark.args or set(said) != set(KEYS) or not all(map(_is_text, said.values())):
                raise WrongMark(f"{test.name}: a fault is three texts: {', '.join(KEYS)}")
            yield str(said["kills"]), str(said["step"]), str(said["expects"])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not set(value) & {"|", "\n"}


def with_faults(page: str, faults: list[Fault]) -> str:
    """Give the page with its table written anew; ValueError without marks for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marks for the faults")
    return f"{before}{BEGIN}\n{_table(faults)}\n{END}{after}"


def _table(faults: list[Fault]) -> str:
    rows = [("what fails", "when", "what holds", "test"), ("---",) * 4]
    rows += [
        (
            fault.kills,
            fault.step,
            fault.expects,
            f"[{fault.test.removeprefix('test_')}](../tests/{fault.file})",
        )
        for fault in faults
    ]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(with_faults(PAGE.read_text("utf-8"), list_faults()), "utf-8")


if __name__ == "__main__":
    main()
