"""Messages to other processes while Redis comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.publisher import PAUSE_S, Publisher

if TYPE_CHECKING:
    import redis

    from tests.servers import Servers


def test_an_outage_is_noticed_once_and_slows_nobody(
    valkey: redis.Redis, redis_url: str, servers: Servers
) -> None:
    """After a failure frequent messages are left out for a moment; a rare one is tried again."""
    now = [0.0]
    publisher = Publisher(lambda: redis_url, clock=lambda: now[0])
    assert publisher.publish("a", "1")
    servers.stop_valkey()
    try:
        assert not publisher.publish("a", "2")
    finally:
        servers.need_valkey()
    assert not publisher.publish("a", "3")
    now[0] = PAUSE_S
    assert publisher.publish("a", "4")


def test_a_rare_message_does_not_wait_for_the_pause(
    valkey: redis.Redis, redis_url: str, servers: Servers
) -> None:
    """A changed flag is told as soon as Redis takes it, and so is everything after it."""
    publisher = Publisher(lambda: redis_url, clock=lambda: 0.0)
    servers.stop_valkey()
    try:
        assert not publisher.publish("a", "1")
    finally:
        servers.need_valkey()
    assert publisher.publish("a", "2", is_rare=True)
    assert publisher.publish("a", "3")


def test_a_connection_that_redis_closed_is_replaced(
    valkey: redis.Redis, redis_url: str, servers: Servers
) -> None:
    """The first message after a restart arrives, though the kept connection is dead."""
    publisher = Publisher(lambda: redis_url)
    assert publisher.publish("a", "1")
    servers.stop_valkey()
    servers.need_valkey()
    assert publisher.publish("a", "2")
