"""What a forked child has to do anew: threads do not survive a fork, locks may be left locked."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Forked(Protocol):
    """Something with threads or locks of its own."""

    def after_fork(self) -> None:
        """Make locks anew and start the threads that ran in the parent."""


_first: list[Callable[[], None]] = []
_known: weakref.WeakSet[Forked] = weakref.WeakSet()


def renew_after_fork(thing: Forked) -> None:
    """Call `thing.after_fork()` in every child this process forks, as long as `thing` lives."""
    _known.add(thing)


def first_after_fork(action: Callable[[], None]) -> None:
    """Call `action` in every child, before anything there starts a thread."""
    _first.append(action)


def _renew_all() -> None:
    for action in _first:
        action()
    for thing in list(_known):
        thing.after_fork()


os.register_at_fork(after_in_child=_renew_all)
