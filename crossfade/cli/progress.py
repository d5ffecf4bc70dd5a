"""How far a command is: one line that is written anew on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

from crossfade.cli.console import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BAR_CELLS: Final = 24
REDRAW_S: Final = 0.1  # no oftener while bytes go out
CLEAR_LINE: Final = "\r\x1b[2K"


class Progress(Protocol):
    """Is told what a command does."""

    def step(self, text: str) -> None:
        """Go on to the next step."""

    def part(self, done: int, whole: int) -> None:
        """Say how much of the step is done."""

    def tick(self) -> None:
        """Say that it still goes on."""

    def line(self, text: str) -> None:
        """Write a line that stays."""

    def close(self) -> None:
        """Leave the screen as a program finds it."""


class PlainLines:
    """Progress for files and pipes: only the lines that stay."""

    def __init__(self, command: str) -> None:
        """Take the word that each line begins with."""
        self._command = command

    def step(self, text: str) -> None:
        """Begin a step; its line says so when it is done."""

    def part(self, done: int, whole: int) -> None:
        """Write nothing: a log is not to be flooded."""

    def tick(self) -> None:
        """Write nothing, as above."""

    def line(self, text: str) -> None:
        """Write a line."""
        say(self._command, text)

    def close(self) -> None:
        """Leave everything as it is."""


class Bar:
    """Progress for a terminal: a bar below the lines that stay, with the seconds of its step."""

    def __init__(self, command: str, *, steps: int, columns: int) -> None:
        """Take the word lines begin with, how many steps there are, and how wide the screen is."""
        self._command = command
        self._steps = steps
        self._columns = columns
        self._done = -1
        self._text = ""
        self._fraction = 0.0
        self._began_s = self._drawn_s = time.monotonic()

    def step(self, text: str) -> None:
        """Go on to the next step."""
        self._done += 1
        self._text, self._fraction = text, 0.0
        self._began_s = time.monotonic()
        self._draw()

    def part(self, done: int, whole: int) -> None:
        """Let the bar grow within its step."""
        self._fraction = min(1.0, done / max(1, whole))
        if done >= whole or time.monotonic() - self._drawn_s >= REDRAW_S:
            self._draw()

    def tick(self) -> None:
        """Show how long the step takes."""
        self._draw()

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        self._write(CLEAR_LINE)
        say(self._command, text)
        self._draw()

    def close(self) -> None:
        """Take the bar away."""
        self._write(CLEAR_LINE)

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        took_s = int(self._drawn_s - self._began_s)
        text = f"{self._text}, {took_s} s" if took_s else self._text
        drawn = bar_text(max(0, self._done) + self._fraction, self._steps)
        shown = f"{self._command:<8}{drawn} {min(self._done + 1, self._steps)}/{self._steps} {text}"
        # A line that fills the screen's width would wrap, and could not be taken back.
        self._write(CLEAR_LINE + shown[: self._columns - 1])

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def bar_text(done: float, steps: int) -> str:
    """Give a bar of `done` of so many steps.

    >>> bar_text(1.5, 3)
    '[############............]'
    """
    full = round(BAR_CELLS * min(1.0, max(0.0, done / steps)))
    return f"[{'#' * full}{'.' * (BAR_CELLS - full)}]"


def progress_for(command: str, steps: Sequence[str], env: Mapping[str, str]) -> Progress:
    """Give what suits standard error: a bar on a terminal that can rewrite a line."""
    if not sys.stderr.isatty() or env.get("TERM", "dumb") == "dumb":
        return PlainLines(command)
    return Bar(command, steps=len(steps), columns=shutil.get_terminal_size().columns)
