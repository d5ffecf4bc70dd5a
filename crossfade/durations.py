"""Durations as people and the wire write them: `10m`, `2h30m`, or whole seconds."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d{1,9})(w|d|hr|h|m|s)")
_WHOLE = re.compile(r"(?:\d{1,9}(?:w|d|hr|h|m|s))+")
_SECONDS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}
_LONGEST_TEXT = 100


def seconds_for_duration(text: str) -> int | None:
    """Give the seconds that a duration names, or None when it is no duration.

    >>> seconds_for_duration("2h30m"), seconds_for_duration("soon")
    (9000, None)
    """
    if len(text) > _LONGEST_TEXT or not _WHOLE.fullmatch(text):
        return None
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
