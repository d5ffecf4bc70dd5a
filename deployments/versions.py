"""The names of versions: `YYYYMMDD.N`, counted per environment and UTC day.

Pure. Source: the deployment API of the public protocol, which shows and sorts versions so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

VERSION_FORM: Final = re.compile(r"([0-9]{8})\.([1-9][0-9]{0,17})")


class Version(NamedTuple):
    """A version, ordered as it was given out: by day, then by number."""

    day: str  # YYYYMMDD, UTC
    number: int  # 1 is the first of the day

    def __str__(self) -> str:
        return f"{self.day}.{self.number}"


class InvalidVersion(ValueError):
    """The text is not `YYYYMMDD.N`."""


def parse_version(text: str) -> Version:
    """Give the version a text names, or raise `InvalidVersion`.

    >>> parse_version("20261122.10") > parse_version("20261122.9")
    True
    """
    match = VERSION_FORM.fullmatch(text)
    if match is None:
        raise InvalidVersion(f"{text[:64]!r} is not a version; one looks like 20261122.1")
    return Version(match[1], int(match[2]))


def day_of(now: datetime) -> str:
    """Give the day part of versions made at `now` (aware UTC)."""
    return now.strftime("%Y%m%d")


def next_version(day: str, taken: Iterable[str]) -> Version:
    """Give the version after all of `taken`.

    The day never goes back: after a clock that ran ahead, counting goes on in its day, so that a
    later version is always the greater one.

    >>> str(next_version("20261122", ["20261122.9", "20261122.10", "20261121.40"]))
    '20261122.11'
    """
    newest = max((parse_version(text) for text in taken), default=Version(day, 0))
    if newest.day < day:
        return Version(day, 1)
    return Version(newest.day, newest.number + 1)


def is_newer(version: str, than: str) -> bool:
    """Tell whether `version` was given out after `than`."""
    return parse_version(version) > parse_version(than)
