"""The table of faults in `docs/reliability.md` is what the tests are marked with."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.fault_matrix import PAGE, Fault, WrongMark, list_faults, with_faults

if TYPE_CHECKING:
    from pathlib import Path

# What has to be in the table: a word of what fails and a word of when, for each fault.
PROMISED = (
    ("web", "executing"),
    ("worker", "executing"),
    ("beat", "executing"),
    ("supervisor", "executing"),
    ("gateway", "executing"),
    ("Valkey", "executing"),
    ("PostgreSQL", "executing"),
    *(
        (kills, step)
        for kills in ("supervisor", "web", "worker", "beat", "Valkey", "PostgreSQL")
        for step in ("triggering", "queued", "delayed", "retrying", "canceled")
    ),
    ("PostgreSQL", "trigger"),
    ("PostgreSQL", "before each statement"),
    ("answer", "queued to leased"),
    ("answer", "leased to executing"),
    ("answer", "executing to ended"),
    ("duplicated", "leased to ended"),
    ("clock", "any"),
    ("two supervisors with one token", "leased"),
    ("leases and dies", "leased"),
    ("completes twice", "completing"),
    ("old code", "upgrade"),
    ("beside new code", "upgrade"),
)


@cache
def faults() -> list[Fault]:
    """Give what the tests are marked with; all of them are read once."""
    return list_faults()


def test_the_page_is_what_the_tests_are_marked_with() -> None:
    """`make docs` writes the table; nothing in it is made up, nothing is missing."""
    page = PAGE.read_text("utf-8")
    assert page == with_faults(page, faults())


@pytest.mark.parametrize(("kills", "step"), PROMISED)
def test_every_promised_fault_has_its_test(kills: str, step: str) -> None:
    """Each fault that the platform must survive is some test's subject."""
    assert [fault for fault in faults() if kills in fault.kills and step in fault.step]


def test_a_mark_says_all_three(tmp_path: Path) -> None:
    """A mark without a part, or with a part that no table can hold, is refused by name."""
    file = tmp_path / "test_x.py"
    for arguments in ("kills='a'", "kills='a', step='', expects='c'", "'a', 'b', 'c'"):
        file.write_text(f"@pytest.mark.fault({arguments})\ndef test_it(): ...\n")
        with pytest.raises(WrongMark, match="test_it"):
            list_faults(tmp_path)
    file.write_text("@pytest.mark.fault(kills='a', step='b', expects='c')\ndef test_it(): ...\n")
    assert list_faults(tmp_path) == [("a", "b", "c", "test_x.py", "test_it")]


def test_a_page_without_marks_is_left_alone() -> None:
    """The table is never written where nobody asked for it."""
    with pytest.raises(ValueError, match="no marks"):
        with_faults("# A page\n", [])
