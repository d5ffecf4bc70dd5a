"""Who may ask a gateway that does not answer: one thread at a time, so that the others work on.

The worker's few threads run the reconcilers as well. While a gateway hangs, every thread that asks
it waits out its deadline; with all of them there, delays and retries of everybody would wait too.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class AskingTurns:
    """Of one process. Everybody may ask until an answer is missing, and again once one came."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._is_silent = False

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Tell whether the caller may ask now. Never waits."""
        if not self._is_silent:
            yield True
            return
        if not self._turn.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._turn.release()

    def note(self, *, is_answered: bool) -> None:
        """Note what became of asking."""
        self._is_silent = not is_answered
