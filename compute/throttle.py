"""How many wrong credentials are taken from one place, kept in the memory of one process. Pure.

A bucket fills with each failure and drains as time passes. Nothing here needs Redis or the
database, nothing grows without a bound, and several processes each count for themselves.

Keys and tokens of ours are too long to guess: one that is right is never refused for others', and
one that is wrong is answered 429 in place of 401 once its address has shown too many. The web
process, the gateway and the supervisor all do so.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final, NamedTuple

MAX_PLACES: Final = 50_000  # buckets a process keeps; the one that was quiet longest goes first
_NETWORK_BITS: Final = 64  # of an IPv6 address: what one subscriber has for itself


class Allowance(NamedTuple):
    """How much a bucket takes, and how fast it drains."""

    failures: int  # at once
    drain_s: float  # seconds until one of them is forgotten


class Buckets:
    """Failures by place. Safe from several threads; every method takes the time."""

    def __init__(self, allowance: Allowance, *, size: int = MAX_PLACES) -> None:
        self.allowance = allowance
        self._size = size
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, at second

    def add(self, place: str, now_s: float) -> None:
        """Count a failure."""
        with self._lock:
            self._set(place, self._level(place, now_s) + 1, now_s)

    def fail(self, place: str, now_s: float) -> int:
        """Count a failure and give 0; once they are too many, give the seconds to wait instead."""
        wait_s = self.wait_s(place, now_s)
        if wait_s == 0:
            self.add(place, now_s)
        return wait_s

    def take_back(self, place: str, now_s: float) -> None:
        """Uncount what turned out to be none."""
        with self._lock:
            self._set(place, max(0.0, self._level(place, now_s) - 1), now_s)

    def level(self, place: str, now_s: float) -> float:
        """Give how many failures of a place are not forgotten yet."""
        with self._lock:
            return self._level(place, now_s)

    def wait_s(self, place: str, now_s: float, *, allowed: int | None = None) -> int:
        """Give the whole seconds until a place may try again; 0: now.

        `allowed` takes the place of the bucket's own allowance.
        """
        most = self.allowance.failures if allowed is None else allowed
        over = self.level(place, now_s) + 1 - most
        return max(0, ceil(over * self.allowance.drain_s))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._levels.clear()

    def __len__(self) -> int:
        """Give how many places are remembered."""
        return len(self._levels)

    def _level(self, place: str, now_s: float) -> float:
        level, at_s = self._levels.get(place, (0.0, now_s))
        return max(0.0, level - max(0.0, now_s - at_s) / self.allowance.drain_s)

    def _set(self, place: str, level: float, now_s: float) -> None:
        self._levels[place] = (level, now_s)
        self._levels.move_to_end(place)
        if len(self._levels) > self._size:
            self._levels.popitem(last=False)


def place_of_address(text: str) -> str:
    """Give what counts as one place: an IPv4 address, or the network of an IPv6 one.

    >>> place_of_address("2001:db8:1:2:3:4:5:6"), place_of_address("192.0.2.7")
    ('2001:db8:1:2::', '192.0.2.7')
    """
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    host_bits = address.max_prefixlen - _NETWORK_BITS
    return str(IPv6Address(int(address) >> host_bits << host_bits))


WRONG_CREDENTIALS: Final = Allowance(100, 1)
"""What an address may show that is wrong: a hundred, and one more each second."""
