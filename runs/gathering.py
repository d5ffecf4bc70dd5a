"""Writes that come at once go out together. Threads only: what is written is the caller's.

Whoever finds no write of its group under way writes at once. Those who come meanwhile wait, and the
first of them then writes for all. Nobody waits for others to come, and groups know nothing of each
other.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from ledger.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = TypeVar("Row")
Result = TypeVar("Result")


class NotTogether(Exception):
    """What was to be written together was not; the cause is what the write raised."""


class _Turn(Generic[Row, Result]):
    """One row on its way."""

    __slots__ = ("error", "result", "row", "together", "woken")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.woken = threading.Lock()
        self.woken.acquire()
        self.together: Sequence[_Turn[Row, Result]] = ()  # whom it is to write for, itself first
        self.result: Result
        self.error: BaseException | None = None


class Gatherer(Generic[Row, Result]):
    """Writes one row at a time for each group, or all that came while another was written."""

    def __init__(self, write: Callable[[Sequence[Row]], Sequence[Result]]) -> None:
        """`write` writes all or raises; it gives one result for each row, in their order."""
        self._write = write
        self._lock = threading.Lock()
        # Of each group with a write under way, who came since it began.
        self._waiting: dict[str, list[_Turn[Row, Result]]] = {}
        renew_after_fork(self)

    def write(self, group: str, row: Row) -> Result:
        """Write a row and give its result.

        Raise what the write raised when the row went alone, `NotTogether` when it did not.
        """
        turn: _Turn[Row, Result] = _Turn(row)
        with self._lock:
            waiting = self._waiting.get(group)
            if waiting is None:
                self._waiting[group] = []
                turn.together = (turn,)
            else:
                waiting.append(turn)
        if not turn.together:
            turn.woken.acquire()  # by whoever wrote it, or when it is this one's turn to write
        if turn.together:
            self._write_for(group, turn.together)
        if turn.error is not None:
            raise turn.error
        return turn.result

    def waiting(self, group: str) -> int:
        """Give how many wait until the write of their group that is under way is done."""
        with self._lock:
            return len(self._waiting.get(group, ()))

    def after_fork(self) -> None:
        """Forget the writes of threads that a forked child does not have."""
        self._lock = threading.Lock()
        self._waiting = {}

    def _write_for(self, group: str, turns: Sequence[_Turn[Row, Result]]) -> None:
        try:
            results = self._write([turn.row for turn in turns])
            for turn, result in zip(turns, results, strict=True):
                turn.result = result
        except BaseException as error:  # noqa: BLE001  whatever it is, nobody may wait for ever
            for turn in turns:
                turn.error = _not_together(error)
            if len(turns) == 1 or not isinstance(error, Exception):
                turns[0].error = error  # its own
        finally:
            self._pass_on(group)
            for turn in turns[1:]:
                turn.woken.release()

    def _pass_on(self, group: str) -> None:
        """Let the first of those who wait write for all of them."""
        with self._lock:
            waiting = self._waiting.pop(group)
            if waiting:
                self._waiting[group] = []
        if waiting:
            waiting[0].together = waiting
            waiting[0].woken.release()


def _not_together(cause: BaseException) -> NotTogether:
    error = NotTogether(str(cause))
    error.__cause__ = cause
    return error
