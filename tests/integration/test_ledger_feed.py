"""A change travels from the process that wrote it to the others, with Redis and without."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.db import connection

from ledger.cache import BoundedCache
from ledger.connections import release_connections
from ledger.feed import Feed
from ledger.registry import ReloadingRegistry
from ledger.selectors import current_revision
from ledger.services import ledger_write
from tests.running import change
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import redis

    from tests.servers import Servers

pytestmark = pytest.mark.django_db(transaction=True)

HOUR_MS = 3_600_000
_numbers = itertools.count()


@pytest.fixture
def follow(valkey: redis.Redis) -> Generator[Callable[[int], Feed], None, None]:
    """Give a maker of feeds as other processes have them, with their interval in milliseconds."""
    made: list[Feed] = []

    def _make(interval_ms: int = HOUR_MS) -> Feed:
        feed = Feed(redis_url=lambda: settings.ENV.redis_url, interval_ms=lambda: interval_ms)
        made.append(feed)
        return feed

    yield _make
    for feed in made:
        feed.stop()


def _start(feed: Feed) -> None:
    feed.start()
    wait_until(lambda: feed.subscribed and feed.served_revision == current_revision())


def _write(kind: str, subject: str = "") -> int:
    with ledger_write(actor="user:a@b.c", source="test") as write:
        write.touch(kind, subject)
    return write.revision


def test_a_write_reaches_another_process_by_message(follow: Callable[[int], Feed]) -> None:
    """A cache drops the very subject, long before any interval is over."""
    rows = {"e1": 1, "e2": 1}
    cache = BoundedCache(f"feed-{next(_numbers)}", rows.get, size=10)
    other = follow(HOUR_MS)
    other.subscribe(["environment"], lambda _kind, subject: cache.drop(subject))
    _start(other)
    cache.get("e1")
    cache.get("e2")
    rows.update(e1=2, e2=2)
    revision = _write("environment", "e1")
    wait_until(lambda: other.served_revision == revision)
    assert (cache.get("e1"), cache.get("e2")) == (2, 1)


def test_a_registry_of_another_process_reloads(follow: Callable[[int], Feed]) -> None:
    """The snapshot of a started registry follows the database at the message."""
    registry = ReloadingRegistry(
        f"feed-{next(_numbers)}",
        current_revision,
        interval_ms=HOUR_MS,
        release=release_connections,
    )
    other = follow(HOUR_MS)
    other.attach(registry, ["flags"])
    _start(other)
    revision = _write("flags")
    wait_until(lambda: other.served_revision == revision)
    assert registry.current() == revision


def test_others_hear_of_a_write_while_it_is_loaded_here(follow: Callable[[int], Feed]) -> None:
    """A load that takes its time delays nobody else, and the writer itself waits for it."""
    served, go_on = "old", threading.Event()
    go_on.set()

    def load() -> str:
        assert go_on.wait(30)
        return served

    registry = ReloadingRegistry(f"feed-{next(_numbers)}", load, interval_ms=HOUR_MS)
    writer, other = follow(HOUR_MS), follow(HOUR_MS)
    writer.attach(registry, ["flags"])
    heard: list[str] = []
    other.listen("crossfade:changes", lambda _channel, text: heard.append(text))
    for feed in (writer, other):
        _start(feed)
    assert registry.reload() == served
    served = "new"
    go_on.clear()
    writing = threading.Thread(target=writer.announce, args=(7, (("flags", ""),)))
    writing.start()
    wait_until(lambda: bool(heard))
    assert (registry.current(), writing.is_alive()) == ("old", True)
    go_on.set()
    writing.join(30)
    assert registry.current() == "new"


def test_a_rolled_back_write_is_never_announced(
    follow: Callable[[int], Feed], valkey: redis.Redis
) -> None:
    """What did not happen is not told: the next message is that of the next write."""
    messages: list[str] = []
    other = follow(HOUR_MS)
    other.listen("crossfade:changes", lambda _channel, text: messages.append(text))
    _start(other)
    before = current_revision()
    with pytest.raises(ZeroDivisionError):
        _fail_after_touch()
    assert _write("flags") == before + 1
    wait_until(lambda: bool(messages))
    assert messages == [f'{{"revision": {before + 1}, "touched": [["flags", ""]]}}']


def _fail_after_touch() -> None:
    with ledger_write(actor="user:a@b.c", source="test") as write:
        write.touch("flags")
        raise ZeroDivisionError


def test_channels_and_patterns_are_heard_also_when_added_late(
    follow: Callable[[int], Feed],
) -> None:
    """The one thread listens for whoever needs a wake-up."""
    heard: list[tuple[str, str]] = []
    other = follow(HOUR_MS)
    other.listen("crossfade:ready:*", lambda channel, text: heard.append((channel, text)))
    _start(other)
    other.publish("crossfade:ready:us-east-1", "1")
    wait_until(lambda: heard == [("crossfade:ready:us-east-1", "1")])
    other.listen("crossfade:late", lambda channel, text: heard.append((channel, text)))
    wait_until(lambda: other.publish("crossfade:late", "2") and len(heard) > 1)
    assert heard[1] == ("crossfade:late", "2")


def test_bytes_that_are_no_text_do_not_deafen(
    follow: Callable[[int], Feed], valkey: redis.Redis
) -> None:
    """Whatever somebody sends to the channel, what follows it still arrives."""
    heard: list[str] = []
    other = follow(HOUR_MS)
    other.listen("crossfade:after", lambda _channel, text: heard.append(text))
    _start(other)
    valkey.publish("crossfade:changes", b"\xff\xfe")
    wait_until(lambda: other.publish("crossfade:after", "1") and bool(heard))
    revision = _write("flags")
    wait_until(lambda: other.served_revision == revision)


def test_without_redis_the_poll_finds_the_change(
    follow: Callable[[int], Feed], servers: Servers
) -> None:
    """Redis may be lost at any moment: the change arrives within the interval."""
    dropped: list[str] = []
    other = follow(50)
    other.subscribe(["key"], lambda _kind, subject: dropped.append(subject))
    _start(other)
    servers.stop_valkey()
    try:
        wait_until(lambda: not other.subscribed)
        revision = _write("key", "k1")
        wait_until(lambda: other.served_revision == revision)
    finally:
        servers.need_valkey()
    assert "k1" in dropped


def test_when_redis_is_back_messages_arrive_again(
    follow: Callable[[int], Feed], servers: Servers
) -> None:
    """The subscriber comes back by itself and asks at once for what it missed."""
    other = follow(HOUR_MS)
    _start(other)
    servers.stop_valkey()
    try:
        wait_until(lambda: not other.subscribed)
        missed = _write("key", "k1")
    finally:
        servers.need_valkey()
    wait_until(lambda: other.subscribed and other.served_revision == missed)
    revision = _write("key", "k2")
    wait_until(lambda: other.served_revision == revision)


FORK = """
import os
import django
django.setup()
from django.db import connection
from ledger.feed import feed
from ledger.selectors import current_revision
from ledger.services import ledger_write
from tests.servers import wait_until

def follow():
    wait_until(lambda: feed.subscribed and feed.served_revision == current_revision())

feed.start()
follow()
child = os.fork()
if child == 0:
    follow()
    with ledger_write(actor="system:child", source="test") as write:
        write.touch("flags")
    feed.stop()
    os._exit(0)
_, status = os.waitpid(child, 0)
wait_until(lambda: feed.served_revision == current_revision())
feed.stop()
print(os.waitstatus_to_exitcode(status), current_revision())
"""


def test_a_forked_child_follows_and_leaves_the_parent_its_connections(
    follow: Callable[[int], Feed],
) -> None:
    """Child and parent both query, write and listen after a fork."""
    before = current_revision()
    database = connection.settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format_map(database)
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(sys.path)}  # noqa: TID251
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        capture_output=True,
        check=False,
        text=True,
        env={**environment, "DJANGO_SETTINGS_MODULE": "webapp.settings"},
        timeout=60,
    )
    assert (run.stdout.strip(), run.returncode) == (f"0 {before + 1}", 0), run.stderr


def test_a_restored_backup_is_noticed_although_it_was_overtaken(
    follow: Callable[[int], Feed],
) -> None:
    """A key that is revoked after a restore is dropped, whatever its number stood for before."""
    rows = {"k1": "works"}
    cache = BoundedCache(f"feed-{next(_numbers)}", rows.get, size=10)
    other = follow(HOUR_MS)
    other.subscribe(
        ["key"], lambda _kind, subject: cache.drop(subject) if subject else cache.clear()
    )
    _write("flags")
    _start(other)
    backup = current_revision()
    lost = _write("flags")
    wait_until(lambda: other.served_revision == lost)
    assert cache.get("k1") == "works"
    change("TRUNCATE ledger_revision")
    change(
        "INSERT INTO ledger_revision (id, value, head_hash, pruned_to) VALUES (1, %s, '', 0)",
        backup,
    )
    rows["k1"] = "revoked"
    assert _write("key", "k1") == lost
    last = _write("flags")
    other.poll()
    assert (other.served_revision, cache.get("k1")) == (last, "revoked")
