"""What code reads of the environment while it is imported before its run is known.

A warm process imports with the variables every run has. The import may be kept for a run only if
the code would have found the same: each variable it looked at, or set, has to be the same in the
run's environment. What C libraries read is not seen.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PLAIN: Final[Any] = type(os.environ)  # noqa: TID251 - it is watched, not read


class EnvironmentWatch:
    """Notes the names that are looked at between `start` and `stop`."""

    def __init__(self, environ: Any) -> None:
        """Take the mapping to watch, `os.environ`."""
        self.before: Mapping[str, str] = dict(environ)
        self._environ = environ
        self._touched: set[str] = set()
        self._everything = False

    def start(self) -> None:
        """Begin."""
        self._environ.__class__ = _watched_by(self)

    def stop(self) -> None:
        """End; what is looked at from now on does not matter."""
        self._environ.__class__ = _PLAIN

    def touch(self, name: str) -> None:
        """Note that a variable was read, set or deleted."""
        self._touched.add(name)

    def touch_everything(self) -> None:
        """Note that all were read at once."""
        self._everything = True

    @property
    def saw_everything(self) -> bool:
        """Whether the code looked at all variables, so that its import fits no run."""
        return self._everything

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Say whether the code would have found the same in this environment."""
        if self._everything:
            return False
        return all(self.before.get(name) == environment.get(name) for name in self._touched)


def _watched_by(watch: EnvironmentWatch) -> Any:
    class Watched(_PLAIN):  # type: ignore[misc]
        def __getitem__(self, name: str) -> Any:
            watch.touch(name)
            return super().__getitem__(name)

        def __setitem__(self, name: str, value: str) -> None:
            watch.touch(name)
            super().__setitem__(name, value)

        def __delitem__(self, name: str) -> None:
            watch.touch(name)
            super().__delitem__(name)

        def __iter__(self) -> Iterator[str]:
            watch.touch_everything()
            return iter(super().__iter__())

    return Watched
