"""How many wrong credentials are taken, from whom, and that nobody pays for somebody else."""

from __future__ import annotations

import pytest

from compute.throttle import Allowance, Buckets, place_of_address
from webapp.throttle import TRIES_UNDER_PRESSURE, LoginThrottle, LoginTry, address_of

HOUR_S = 3600.0


def tried(
    address: str = "192.0.2.1", account: str = "ada@example.com", browser: str = ""
) -> LoginTry:
    """Give a try of Ada's from her place."""
    return LoginTry(address=address, account=account, browser=browser)


def fail_until_refused(throttle: LoginThrottle, one: LoginTry, now_s: float = 0.0) -> int:
    """Fail over and over and give how many tries were let pass."""
    for count in range(1000):
        if throttle.begin(one, now_s):
            return count
    pytest.fail("nothing ever refused it")


class TestBuckets:
    """One kind of failure, by place."""

    def test_it_fills_and_drains(self) -> None:
        """So many at once; then one for each span of time, and each place for itself."""
        buckets = Buckets(Allowance(2, 10.0))
        for _ in range(2):
            assert buckets.wait_s("a", 100.0) == 0
            buckets.add("a", 100.0)
        assert (buckets.wait_s("a", 100.0), buckets.wait_s("b", 100.0)) == (10, 0)
        assert (buckets.wait_s("a", 104.5), buckets.wait_s("a", 110.0)) == (6, 0)
        assert buckets.level("a", 120.0) == 0

    def test_what_is_refused_is_not_counted(self) -> None:
        """However hard somebody knocks, it is let in again as soon as the first are forgotten."""
        buckets = Buckets(Allowance(2, 10.0))
        told = [buckets.fail("a", 100.0) for _ in range(50)]
        assert told == [0, 0, *[10] * 48]
        assert buckets.fail("a", 110.0) == 0

    def test_a_clock_that_steps_back_forgets_nothing(self) -> None:
        """Time only ever drains."""
        buckets = Buckets(Allowance(1, 10.0))
        buckets.add("a", 100.0)
        assert buckets.level("a", 50.0) == 1

    def test_it_is_bounded(self) -> None:
        """However many places fail, so many are remembered: the latest."""
        buckets = Buckets(Allowance(1, HOUR_S), size=3)
        for number in range(10):
            buckets.add(f"place-{number}", 0.0)
        assert len(buckets) == 3
        assert buckets.level("place-9", 0.0) == 1
        assert buckets.level("place-0", 0.0) == 0

    def test_what_was_no_failure_is_taken_back(self) -> None:
        """And never below nothing."""
        buckets = Buckets(Allowance(1, 10.0))
        buckets.add("a", 0.0)
        for _ in range(3):
            buckets.take_back("a", 0.0)
        assert buckets.level("a", 0.0) == 0


class TestLogins:
    """Guesses of passwords."""

    def test_guesses_from_one_place_are_few(self) -> None:
        """Ten at one account, then one a minute."""
        throttle = LoginThrottle()
        assert fail_until_refused(throttle, tried()) == 10
        assert throttle.begin(tried(), 59.0) > 0
        assert throttle.begin(tried(), 60.0) == 0

    def test_its_owner_gets_in_from_elsewhere(self) -> None:
        """Whoever fails at an account, others may still try it from their own place."""
        throttle = LoginThrottle()
        fail_until_refused(throttle, tried(address="203.0.113.9"))
        assert throttle.begin(tried(), 0.0) == 0

    def test_an_account_under_pressure_grants_each_place_a_few_tries(self) -> None:
        """Guesses spread over many addresses shrink what each gets, never to nothing."""
        throttle = LoginThrottle()
        for number in range(60):
            throttle.begin(tried(address=f"203.0.113.{number}"), 0.0)
        assert fail_until_refused(throttle, tried()) == TRIES_UNDER_PRESSURE

    def test_one_place_cannot_try_everybody(self) -> None:
        """An address that fails at a hundred accounts waits, then goes on slowly."""
        throttle = LoginThrottle()
        waits = [
            throttle.begin(tried(account=f"{number}@example.com"), 0.0) for number in range(150)
        ]
        assert waits.count(0) == 100
        assert throttle.begin(tried(account="new@example.com"), 10.0) == 0

    def test_a_browser_that_was_in_before_is_nobody_elses(self) -> None:
        """It has its own allowance, whatever its address and its account have to bear."""
        throttle = LoginThrottle()
        for number in range(200):
            throttle.begin(tried(account=f"{number % 5}@example.com"), 0.0)
            throttle.begin(tried(), 0.0)
        assert fail_until_refused(throttle, tried(browser="mine")) == 10
        assert throttle.begin(tried(browser="another"), 0.0) == 0

    def test_right_passwords_cost_nothing(self) -> None:
        """Who logs in a thousand times in a second is never refused."""
        throttle = LoginThrottle()
        for _ in range(1000):
            assert throttle.begin(tried(), 0.0) == 0
            throttle.succeeded(tried(), 0.0)


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "address"),
    [
        ("192.0.2.7", "6.6.6.6", 0, "192.0.2.7"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.7", 1, "192.0.2.7"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.7, 10.0.0.2", 2, "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7", 5, "192.0.2.7"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("10.0.0.1", "no address", 1, ""),
        ("::ffff:192.0.2.7", "", 0, "192.0.2.7"),
    ],
)
def test_the_address_is_what_our_own_proxies_heard(
    remote: str, forwarded: str, proxies: int, address: str
) -> None:
    """What a caller writes into the header itself never counts."""
    assert address_of(remote, forwarded, proxies=proxies) == address


def test_a_network_is_one_place() -> None:
    """Whoever has an IPv6 network has all its addresses."""
    places = {place_of_address(f"2001:db8:1:2::{number:x}") for number in range(50)}
    assert places == {"2001:db8:1:2::"}
