"""Tables and facts of the operators' pages, as values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from webapp.dashboard.words import moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from webapp.dashboard.words import Tone, Word

Kind = Literal["text", "prose", "code", "number", "word", "badge", "act"]
NOTHING: Final = ""
SHORT_ID: Final = 8


class Cell(NamedTuple):
    """One value of a table or of a list of facts."""

    text: str
    kind: Kind = "text"
    tone: Tone | Literal["container", "microvm", ""] = ""
    href: str = ""
    title: str = ""  # more of it, on hover and for screen readers


class Table(NamedTuple):
    """Rows under headers; every row has as many cells as there are headers."""

    name: str  # for tests and screen readers
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str  # what stands there when there are no rows

    @property
    def headings(self) -> list[tuple[str, bool]]:
        """The headers, and whether numbers stand under each."""
        kinds = [cell.kind for cell in self.rows[0]] if self.rows else []
        return [
            (header, kind == "number") for header, kind in zip(self.headers, kinds, strict=False)
        ]

    @property
    def labelled(self) -> list[list[tuple[str, Cell]]]:
        """The rows, each cell with its header, which narrow windows show beside it."""
        return [list(zip(self.headers, row, strict=True)) for row in self.rows]


class Fact(NamedTuple):
    """A named value."""

    name: str
    value: Cell


def code(text: str | None, href: str = "") -> Cell:
    """Give an id or a name for machines; None is nothing."""
    return Cell(text or NOTHING, "code", href=href)


def short(identifier: str) -> Cell:
    """Give the end of an id, which differs most; the whole id on hover."""
    return Cell(identifier[-SHORT_ID:], "code", title=identifier)


def number(value: int | None) -> Cell:
    """Give a number, aligned with the others of its column."""
    return Cell(NOTHING if value is None else str(value), "number")


def word(state: Word) -> Cell:
    """Give a state: a word, and its colour."""
    return Cell(state.text, "word", state.tone)


def at(time: datetime | None, now: datetime) -> Cell:
    """Give a time: how far away, and on hover exactly when."""
    if time is None:
        return Cell(NOTHING)
    shown = moment(time, now)
    return Cell(shown.text, title=shown.exact)


def workload(name: str) -> Cell:
    """Give a workload type in the colour it has everywhere."""
    return _WORKLOADS.get(name, Cell(name))


def act(label: str, address: str, *, title: str) -> Cell:
    """Give a button that sends an empty form to an address; `title` says what that does."""
    return Cell(label, "act", href=address, title=title)


def facts(values: Mapping[str, Cell]) -> tuple[Fact, ...]:
    """Give the facts that say something."""
    return tuple(Fact(name, value) for name, value in values.items() if value.text)


_WORKLOADS: Final[Mapping[str, Cell]] = {
    "CONTAINER": Cell("Container", "badge", "container"),
    "MICROVM": Cell("MicroVM", "badge", "microvm"),
}
