"""What placement is measured beside really decides, from memory, and by the same rule."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bench.flag_sdks import started_sdks
from bench.groups.placement import our_contender
from bench.results import shown
from bench.tenants import PERCENTS, Tenant, find_fault, made_tenants
from bench.without_network import NetworkUsed, without_network

TENANTS = made_tenants(3000)


def test_every_sdk_decides_without_the_network(tmp_path: Path) -> None:
    """Overrides hold both ways and the dial's share of each plan is in, with nothing fetched."""
    with without_network() as attempts, started_sdks(PERCENTS, tmp_path) as sdks:
        faults = {name: find_fault(TENANTS, decide(TENANTS)) for name, decide in sdks.items()}
    assert set(faults.values()) == {None}
    assert len(faults) == 5
    assert attempts == []


def test_ours_decides_by_the_same_rule() -> None:
    """An organization that is in is swapped to the backing, and no other."""
    ours = our_contender(TENANTS)
    decisions = [ours.is_in(answer) for answer in ours.decide(ours.subjects)]
    assert find_fault(TENANTS, decisions) is None


@pytest.mark.parametrize("answer", [False, True])
def test_one_who_does_not_decide_is_found_out(answer: bool) -> None:
    """The same answer for everyone is no decision, whichever it is."""
    assert find_fault(TENANTS, [answer] * len(TENANTS)) == "an override does not hold"


@pytest.mark.parametrize(
    ("plan", "fault"),
    [
        ("free", "of plan free 100 % are in instead of 40 %"),
        ("enterprise", "of plan enterprise 100 % are in instead of 0 %"),
        (None, "of plan None 100 % are in instead of 0 %"),
    ],
)
def test_a_wrong_share_of_a_plan_is_found_out(plan: str | None, fault: str) -> None:
    """Of each plan its own share has to be in; of plans without a dial nobody."""
    tenants = [Tenant(str(number), plan, None) for number in range(10)]
    assert find_fault(tenants, [True] * 10) == fault


def test_the_network_is_refused_and_the_attempt_known() -> None:
    """A library that swallows the error is found out all the same; afterwards all is as before."""
    with socket.socket() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with without_network() as attempts:
            with pytest.raises(NetworkUsed):
                client.connect(listening.getsockname())
            assert len(attempts) == 1
        client.connect(listening.getsockname())
    assert len(attempts) == 1


def test_part_of_a_microsecond_is_shown() -> None:
    """A figure below one keeps two digits, so that a goal of 0.6 can be read from the page."""
    assert (shown(0.587, "us"), shown(None, "us"), shown(6.04, "us")) == ("0.59 us", "-", "6.0 us")
