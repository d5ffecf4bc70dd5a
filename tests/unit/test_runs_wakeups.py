"""Announcements to other processes: none is lost, and a burst costs little."""

from __future__ import annotations

import doctest

from runs.services import wakeups
from runs.services.wakeups import (
    CHANNEL_PREFIX,
    GATHER_S,
    LONGEST_GATHER_S,
    Announcer,
    next_rest_s,
)
from tests.servers import wait_until

BURST = 1000


def test_the_moments_of_a_burst_grow_up_to_a_bound() -> None:
    """And the first pause begins anew: what comes alone is never late."""
    rests = [GATHER_S]
    for _ in range(10):
        rests.append(next_rest_s(rests[-1], goes_on=True))
    assert rests == sorted(rests)
    assert rests[1] > GATHER_S
    assert rests[-1] == LONGEST_GATHER_S
    assert next_rest_s(LONGEST_GATHER_S, goes_on=False) == GATHER_S
    assert doctest.testmod(wakeups).failed == 0


def test_every_queue_of_a_burst_is_announced() -> None:
    """Whatever came while the announcer rested goes out after it, each queue once."""
    sent: list[str] = []
    announcer = Announcer(sent.append)
    for number in range(BURST):
        announcer.announce(f"queue-{number % 10}")
    wait_until(lambda: len(set(sent)) == 10, what="all queues")
    assert len(sent) < BURST
    announcer.announce("the last")
    wait_until(lambda: sent[-1] == f"{CHANNEL_PREFIX}the last", what="what comes after the burst")
