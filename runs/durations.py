"""Durations and moments as callers write them: `2h30m`, `90`, an ISO date. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNIT_S = {"w": 604_800, "d": 86_400, "h": 3_600, "hr": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+)(w|d|hr|h|m|s)", re.ASCII)
_WHOLE = re.compile(r"(?:\d+(?:w|d|hr|h|m|s))+", re.ASCII)
_SINGLE = re.compile(r"(\d+)([smhd])", re.ASCII)
_MAX_LENGTH = 100
MAX_S = 100 * 365 * 86_400


def seconds_of(text: str) -> int | None:
    """Give the whole seconds of a duration, None when it is none.

    Rule: any concatenation of `<int><w|d|h|hr|m|s>`, at most 100 characters and 100 years.

    >>> seconds_of("2h30m"), duration_s("soon")
    (9000, None)
    """
    if len(text) > _MAX_LENGTH or not _WHOLE.fullmatch(text):
        return None
    total = sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))
    return total if total <= MAX_S else None


def key_ttl_s(text: str | None, *, default_s: int) -> int:
    """Give the seconds an idempotency key lives; any form but `<int><s|m|h|d>` means the default.

    >>> key_ttl_s("1h", default_s=60), key_ttl_s("1h30m", default_s=60)
    (3600, 60)
    """
    match = _SINGLE.fullmatch(text) if text and len(text) <= _MAX_LENGTH else None
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else default_s
    return min(seconds, MAX_S)


def text_of(seconds: int) -> str:
    """Write seconds as a duration.

    >>> text_of(3661), text_of(0)
    ('1h1m1s', '0s')
    """
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts) or "0s"


def moment_of(text: str, *, now: datetime) -> datetime | None:
    """Give the aware UTC moment a delay names: now plus a duration, or an ISO date.

    None when it is neither. A date without offset is taken as UTC.
    """
    seconds = seconds_of(text)
    if seconds is not None:
        return now + timedelta(seconds=seconds)
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
