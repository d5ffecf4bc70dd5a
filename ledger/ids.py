"""Time-ordered public ids: a prefix, `_`, 12 characters of time, 13 characters of chance.

The alphabet is base32hex in lower case (`0-9a-v`), whose order is that of ASCII, so ids of one
prefix sort as text in the order of their microseconds: 10 characters are the millisecond, 2 what is
left of it. 13 characters are 65 random bits.

The encoding is pure; only `new_id` reads the clock and the system's random source. It reads the
source for many ids at once, because the call into the kernel costs more than all the rest; a forked
child forgets what its parent had read ahead.
"""

from __future__ import annotations

import time
from os import register_at_fork, urandom

ALPHABET = "0123456789abcdefghijklmnopqrstuv"
TIME_CHARS = 10
FRACTION_CHARS = 2
RANDOM_CHARS = 13
BODY_CHARS = TIME_CHARS + FRACTION_CHARS + RANDOM_CHARS
MAX_MS = (1 << 5 * TIME_CHARS) - 1  # the year 37647

_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)  # ten bits at a time
_VALUES = {char: value for value, char in enumerate(ALPHABET)}
_FROM_BYTE = (ALPHABET * 8).encode()  # 256 = 8 x 32: every character is equally likely
_NS_PER_US = 1000
_US_PER_MS = 1000
_READ_AHEAD = 128  # ids whose chance is read in one call
_random_bodies: list[str] = []  # used from the end; append and pop are atomic
register_at_fork(after_in_child=_random_bodies.clear)


def new_id(prefix: str, *, now_us: int | None = None) -> str:
    """Give `<prefix>_` and 25 characters that sort by time.

    `now_us` is the epoch time in microseconds, by default the clock's. Two ids of one microsecond
    are in no particular order. Raise ValueError for a time before 1970 or after `MAX_MS`.
    """
    us = time.time_ns() // _NS_PER_US if now_us is None else now_us
    ms, fraction = divmod(us, _US_PER_MS)
    try:
        chance = _random_bodies.pop()
    except IndexError:
        chance = _read_random()
    return f"{prefix}_{encode_ms(ms)}{_PAIRS[fraction]}{chance}"


def _read_random() -> str:
    text = urandom(RANDOM_CHARS * _READ_AHEAD).translate(_FROM_BYTE).decode()
    _random_bodies.extend(
        text[start : start + RANDOM_CHARS] for start in range(RANDOM_CHARS, len(text), RANDOM_CHARS)
    )
    return text[:RANDOM_CHARS]


def encode_ms(ms: int) -> str:
    """Give the 10 characters of an epoch time in milliseconds; a later time is a greater text.

    Raise ValueError outside 0 to `MAX_MS`.
    """
    if not 0 <= ms <= MAX_MS:
        raise ValueError(f"{ms} ms is outside 0 to {MAX_MS}")
    pairs = _PAIRS
    return (
        f"{pairs[ms >> 40]}{pairs[ms >> 30 & 1023]}{pairs[ms >> 20 & 1023]}"
        f"{pairs[ms >> 10 & 1023]}{pairs[ms & 1023]}"
    )


def decode_ms(text: str) -> int:
    """Give the epoch time in milliseconds of 10 characters, or raise ValueError."""
    if len(text) != TIME_CHARS:
        raise ValueError(f"{text!r} is not {TIME_CHARS} characters of time")
    ms = 0
    for char in text:
        value = _VALUES.get(char)
        if value is None:
            raise ValueError(f"{text!r} has {char!r}, which is not in 0-9a-v")
        ms = ms << 5 | value
    return ms


def body_of(identifier: str) -> str:
    """Give an id without its prefix: the "internal id" of the wire. A bare body stays itself."""
    return identifier.rpartition("_")[2]


def id_time_ms(identifier: str) -> int:
    """Give the epoch milliseconds at which an id was made, or raise ValueError if it is no id."""
    body = body_of(identifier)
    if len(body) != BODY_CHARS:
        raise ValueError(f"{identifier!r} is not an id")
    return decode_ms(body[:TIME_CHARS])
