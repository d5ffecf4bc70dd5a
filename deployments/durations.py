"""Durations as customers write them: `10m`, `2h30m`, `1d`.

Pure. Source: the public protocol: whole numbers with w, d, h, hr, m or s, and nothing else.
"""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT: Final = 100
SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "hr": 3_600, "m": 60, "s": 1}
WHOLE: Final = re.compile(r"(?:[0-9]+(?:hr|[wdhms]))+")
PART: Final = re.compile(r"([0-9]+)(hr|[wdhms])")


def duration_s(text: str) -> int | None:
    """Give the seconds a duration means, or None when it is not one.

    >>> duration_s("2h30m"), duration_s("30"), duration_s("1.5h")
    (9000, None, None)
    """
    if len(text) > MAX_TEXT or WHOLE.fullmatch(text) is None:
        return None
    return sum(int(count) * SECONDS[unit] for count, unit in PART.findall(text))
