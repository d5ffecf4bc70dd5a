"""How many wrong credentials this process takes from one place, and how many wrong passwords.

Keys and tokens are counted as `compute/throttle.py` says. Passwords can be guessed, so a login is
refused before its password is looked at; see `LoginThrottle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from compute.throttle import WRONG_CREDENTIALS, Allowance, Buckets, place_of_address

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTHENTICATION_FAILURES = Counter(
    "crossfade_authentication_failures_total",
    "Credentials that were refused, by kind and by whether their place was throttled.",
    ["kind", "throttled"],
)


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

CREDENTIALS = Buckets(WRONG_CREDENTIALS)
"""Keys and tokens that were wrong, by address."""

LOGINS = LoginThrottle()
"""Logins of this process."""


def forget_failures() -> None:
    """Forget every failure of this process, as a restart does."""
    CREDENTIALS.clear()
    LOGINS.clear()
