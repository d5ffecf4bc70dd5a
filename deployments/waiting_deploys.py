"""How many deploys of this process may wait for their templates at once.

Each holds a thread for up to five minutes; without a bound a slow gateway would take all of them,
and triggers with them.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from deployments.deployment_errors import TooManyWaiting

if TYPE_CHECKING:
    from collections.abc import Iterator


class WaitingDeploys:
    """The places there are; a place is given back however its deploy ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = 0

    def is_full(self, most: int) -> bool:
        """Tell whether there is no place left of so many."""
        return self._taken >= most

    @contextmanager
    def place(self, most: int) -> Iterator[None]:
        """Take one of so many places, or raise `TooManyWaiting`; nobody waits for a place."""
        with self._lock:
            if self._taken >= most:
                raise TooManyWaiting(
                    "Too many deploys wait for their code to be prepared, please try again"
                )
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1


WAITING: Final = WaitingDeploys()
"""Those of this process."""
