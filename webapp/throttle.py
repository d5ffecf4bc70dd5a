"""How many wrong credentials are taken from one place, kept in the memory of this process.

A bucket fills with each failure and drains as time passes. Nothing here needs Redis or the
database, nothing grows without a bound, and several replicas each count for themselves.

Keys and tokens of ours are too long to guess: one that is right is never refused here, and one that
is wrong is answered 429 in place of 401 once its address has shown too many. Passwords can be
guessed, so a login is refused before its password is looked at; see `decide_login`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PLACES: Final = 50_000  # buckets a process keeps; the one that was quiet longest goes first
_NETWORK_BITS: Final = 64  # of an IPv6 address: what one subscriber has for itself

AUTHENTICATION_FAILURES = Counter(
    "crossfade_authentication_failures_total",
    "Credentials that were refused, by kind and by whether their place was throttled.",
    ["kind", "throttled"],
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginTry:
    """Who tries to log in, as far as it can be told before the password is looked at."""

    address: str
    account: str  # what was typed as the email, in lower case; it may be nobody's
    browser: str  # the id of a browser that this account has logged in with before; "" for others


class LoginThrottle:
    """Bounds guesses of passwords without letting anybody lock out somebody else.

    A browser that knew the password once has an allowance of its own. For all others the address
    counts, alone and together with the account; an account that is tried from many addresses grants
    each of them a few tries only, which is still enough for its owner.
    """

    def __init__(self) -> None:
        self._browsers = Buckets(Allowance(10, 60))
        self._pairs = Buckets(Allowance(10, 60))
        self._addresses = Buckets(Allowance(100, 10))
        self._accounts = Buckets(Allowance(50, 30))

    def begin(self, tried: LoginTry, now_s: float) -> int:
        """Count a try as failed and give 0, or give the seconds to wait without counting it.

        Counting first keeps tries that come at one moment within the bound.
        """
        wait_s = self._wait_s(tried, now_s)
        if wait_s == 0:
            for buckets, place in self._places(tried):
                buckets.add(place, now_s)
        return wait_s

    def succeeded(self, tried: LoginTry, now_s: float) -> None:
        """Take back what `begin` counted: the password was right."""
        for buckets, place in self._places(tried):
            buckets.take_back(place, now_s)

    def clear(self) -> None:
        """Forget everything."""
        for buckets in (self._browsers, self._pairs, self._addresses, self._accounts):
            buckets.clear()

    def _wait_s(self, tried: LoginTry, now_s: float) -> int:
        if tried.browser:
            return self._browsers.wait_s(tried.browser, now_s)
        is_pressed = self._accounts.wait_s(tried.account, now_s) > 0
        pair_s = self._pairs.wait_s(
            _pair(tried), now_s, allowed=TRIES_UNDER_PRESSURE if is_pressed else None
        )
        return max(pair_s, self._addresses.wait_s(tried.address, now_s))

    def _places(self, tried: LoginTry) -> Sequence[tuple[Buckets, str]]:
        if tried.browser:
            return [(self._browsers, tried.browser)]
        return [
            (self._pairs, _pair(tried)),
            (self._addresses, tried.address),
            (self._accounts, tried.account),
        ]


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


def address_of(remote: str, forwarded: str, *, proxies: int) -> str:
    """Give the address a request came from, past so many proxies of ours.

    `remote` is the peer of the connection, `forwarded` the header X-Forwarded-For, to which each
    proxy adds whom it heard. What stands further left than our own proxies is anybody's word.

    >>> address_of("10.0.0.1", "6.6.6.6, 192.0.2.7", proxies=1)
    '192.0.2.7'
    """
    if proxies == 0:
        return place_of_address(remote)
    heard = [*(part.strip() for part in forwarded.split(",") if part.strip()), remote]
    return place_of_address(heard[max(0, len(heard) - 1 - proxies)])


def _pair(tried: LoginTry) -> str:
    return f"{tried.address} {tried.account}"


TRIES_UNDER_PRESSURE: Final = 3

CREDENTIALS = Buckets(Allowance(100, 1))
"""Keys and tokens that were wrong, by address."""

LOGINS = LoginThrottle()
"""Logins of this process."""


def forget_failures() -> None:
    """Forget every failure of this process, as a restart does."""
    CREDENTIALS.clear()
    LOGINS.clear()
