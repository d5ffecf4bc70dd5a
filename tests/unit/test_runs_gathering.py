"""Writes that come at once: who waits for whom, and what each is told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from runs.gathering import Gatherer, NotTogether
from tests.servers import wait_until

WAIT_S = 10.0
THREADS = 8


class Failed(Exception):
    """What the write below raises."""


class Held:
    """A write that goes on when it is let go, and keeps what it was given."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []
        self.goes_on = threading.Semaphore(0)
        self.error: BaseException | None = None
        self.gatherer: Gatherer[str, str] = Gatherer(self.write)

    def write(self, rows: Sequence[str]) -> list[str]:
        """Write the rows in capitals."""
        self.written.append(list(rows))
        assert self.goes_on.acquire(timeout=WAIT_S)
        if self.error is not None:
            raise self.error
        return [row.upper() for row in rows]

    def begin(self, pool: ThreadPoolExecutor, *rows: str, group: str = "a") -> list[Future[str]]:
        """Let the first row be under way, and the others wait for it, in their order."""
        writes = [pool.submit(self.gatherer.write, group, rows[0])]
        wait_until(lambda: [rows[0]] in self.written, what="the first write")
        for row in rows[1:]:
            writes.append(pool.submit(self.gatherer.write, group, row))
            wait_until(partial(self._has_waiting, group, len(writes) - 1), what="who waits")
        return writes

    def _has_waiting(self, group: str, number: int) -> bool:
        return self.gatherer.waiting(group) == number


def test_who_comes_alone_is_written_at_once() -> None:
    """One after the other, each goes by itself, and the next finds nobody in its way."""
    held = Held()
    held.goes_on.release(2)
    assert [held.gatherer.write("a", row) for row in ("x", "y")] == ["X", "Y"]
    assert held.written == [["x"], ["y"]]


def test_who_comes_meanwhile_is_written_together() -> None:
    """In the order they came, and each is told its own result."""
    held = Held()
    with ThreadPoolExecutor(THREADS) as pool:
        writes = held.begin(pool, "x", "p", "q", "r")
        held.goes_on.release(2)
        assert [one.result(WAIT_S) for one in writes] == ["X", "P", "Q", "R"]
    assert held.written == [["x"], ["p", "q", "r"]]
    assert held.gatherer.waiting("a") == 0


def test_whoever_was_written_does_not_wait_for_the_next() -> None:
    """The first is told while those behind it are still being written."""
    held = Held()
    with ThreadPoolExecutor(THREADS) as pool:
        first, second = held.begin(pool, "x", "p")
        held.goes_on.release()
        assert first.result(WAIT_S) == "X"
        assert not second.done()
        held.goes_on.release()
        assert second.result(WAIT_S) == "P"


def test_groups_do_not_wait_for_each_other() -> None:
    """A group whose write hangs holds up itself only."""
    held = Held()
    with ThreadPoolExecutor(THREADS) as pool:
        (first,) = held.begin(pool, "x", group="a")
        (other,) = held.begin(pool, "y", group="b")
        assert held.written == [["x"], ["y"]]
        held.goes_on.release(2)
        assert (first.result(WAIT_S), other.result(WAIT_S)) == ("X", "Y")


def test_a_row_that_went_alone_hears_its_own_error() -> None:
    """Nothing is put around it, and the next write of the group goes on."""
    held = Held()
    held.error = Failed("no")
    held.goes_on.release(2)
    with pytest.raises(Failed):
        held.gatherer.write("a", "x")
    held.error = None
    assert held.gatherer.write("a", "y") == "Y"


@pytest.mark.parametrize("error", [Failed("no"), SystemExit(1)])
def test_nobody_waits_for_ever_when_the_write_fails(error: BaseException) -> None:
    """Each is told that they were not written together, and why; an exit stays its thread's own."""
    held = Held()
    with ThreadPoolExecutor(THREADS) as pool:
        first, leader, mate = held.begin(pool, "x", "p", "q")
        held.goes_on.release()
        assert first.result(WAIT_S) == "X"
        held.error = error
        held.goes_on.release()
        told = mate.exception(WAIT_S)
        assert isinstance(told, NotTogether)
        assert told.__cause__ is error
        own = leader.exception(WAIT_S)
        assert isinstance(own, NotTogether) if isinstance(error, Exception) else own is error
        held.error = None
        held.goes_on.release()
        assert held.gatherer.write("a", "y") == "Y"


def test_a_forked_child_waits_for_nobody() -> None:
    """The threads whose writes were under way are not there any more."""
    held = Held()
    with ThreadPoolExecutor(THREADS) as pool:
        (first,) = held.begin(pool, "x")
        child: Gatherer[str, str] = Gatherer(list)
        child._waiting = {group: [] for group in held.gatherer._waiting}
        child.after_fork()
        assert child.write("a", "y") == "y"
        held.goes_on.release()
        assert first.result(WAIT_S) == "X"
