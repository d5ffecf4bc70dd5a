"""The README's figures are the measured ones."""

from __future__ import annotations

from bench.tables import BEGIN, END, RESULTS, ROOT, figures_table, read_rows, with_figures


def test_the_readme_shows_the_figures_that_were_measured() -> None:
    """The table of the README is the one that the latest results give."""
    page = (ROOT / "README.md").read_text("utf-8")
    assert page == with_figures(page, figures_table(read_rows(RESULTS)))


def test_a_row_shows_its_peer_and_ratio() -> None:
    """A measured row has its value with unit, its peer's and the ratio; large ones no decimals."""
    row = {
        "name": "trigger.http_rps",
        "value": 1523.4,
        "unit": "1/s",
        "peer": "empty view",
        "peer_value": 2801.0,
        "ratio": 0.5439,
        "note": "",
    }
    assert (
        figures_table([row]).splitlines()[-1]
        == "| `trigger.http_rps` | 1,523 1/s | empty view | 2,801 | 0.544x |"
    )


def test_a_row_without_a_value_says_why() -> None:
    """A figure that could not be measured is shown with its reason, never left out."""
    row = {"name": "stack.ready_s", "value": None, "unit": "s", "note": "no network"}
    assert "| `stack.ready_s` | not measured: no network | | | |" in figures_table([row])


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    """Everything around the marks stays as it is."""
    assert with_figures(f"a\n{BEGIN}old\n{END}\nb", "new\n") == f"a\n{BEGIN}new\n{END}\nb"
