"""The bounded cache with real threads: one load per miss, nothing kept that was dropped."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from ledger.cache import BoundedCache, LoadStillRunning
from tests.servers import wait_until

_numbers = itertools.count()


@dataclass
class Table:
    """What the cache stands in front of: rows by key, and a gate in front of the answer."""

    rows: dict[str, int] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self, key: str) -> int | None:
        """Read a row, then wait for the gate before giving it."""
        row = self.rows.get(key)
        self.reads.append(key)
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return row


def _cache(table: Table, **options: float) -> BoundedCache[str, int]:
    options = {"size": 4, **options}
    return BoundedCache(f"test-{next(_numbers)}", table.load, **options)  # type: ignore[arg-type]


def _in_threads(count: int, cache: BoundedCache[str, int], key: str) -> list[threading.Thread]:
    threads = [threading.Thread(target=cache.get, args=(key,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_a_hit_does_not_load() -> None:
    """What was loaded once is answered from memory."""
    table = Table({"a": 1})
    cache = _cache(table)
    assert [cache.get("a"), cache.get("a"), cache.peek("a"), cache.peek("b")] == [1, 1, 1, None]
    assert table.reads == ["a"]


def test_a_dropped_key_is_loaded_anew() -> None:
    """After a drop the next reader sees what the table says now."""
    table = Table({"a": 1, "b": 1})
    cache = _cache(table)
    cache.get("a")
    cache.get("b")
    table.rows["a"] = 2
    cache.drop("a")
    assert (cache.get("a"), cache.get("b"), table.reads) == (2, 1, ["a", "b", "a"])


def test_threads_that_miss_together_share_one_load() -> None:
    """Many requests for one key after a restart cost one query."""
    table = Table({"a": 1})
    table.gate.clear()
    cache = _cache(table)
    threads = _in_threads(8, cache, "a")
    wait_until(lambda: cache.counts.misses == 8)
    table.gate.set()
    for thread in threads:
        thread.join(10)
    assert (table.reads, cache.get("a")) == (["a"], 1)


@pytest.mark.parametrize("how", ["drop", "drop_where", "clear"])
def test_a_load_that_began_before_a_drop_is_not_kept(how: str) -> None:
    """A slow query must not bring back a key that was revoked while it ran."""
    table = Table({"a": 1})
    table.gate.clear()
    cache = _cache(table)
    (thread,) = _in_threads(1, cache, "a")
    wait_until(lambda: table.reads == ["a"])
    del table.rows["a"]
    {
        "drop": lambda: cache.drop("a"),
        "drop_where": lambda: cache.drop_where(lambda _key, _value: False),
        "clear": cache.clear,
    }[how]()
    table.gate.set()
    thread.join(10)
    assert (len(cache), cache.counts.stale_loads, cache.get("a")) == (0, 1, None)


def test_a_reader_after_a_drop_does_not_join_an_older_load() -> None:
    """Who asks after the drop gets what the table says after it, while the old load still hangs."""
    table = Table({"a": 1})
    hanging = table.gate = threading.Event()
    cache = _cache(table)
    (thread,) = _in_threads(1, cache, "a")
    wait_until(lambda: table.reads == ["a"])
    table.rows["a"] = 2
    cache.drop("a")
    table.gate = threading.Event()
    table.gate.set()
    assert cache.get("a") == 2
    hanging.set()
    thread.join(10)
    assert cache.get("a") == 2


def test_what_the_loader_raises_every_reader_gets_and_nothing_is_kept() -> None:
    """An outage is reported as such, and over when it is over."""
    table = Table({"a": 1}, error=ConnectionError("away"))
    cache = _cache(table)
    with pytest.raises(ConnectionError, match="away"):
        cache.get("a")
    table.error = None
    assert cache.get("a") == 1


def test_readers_who_wait_get_the_loaders_error() -> None:
    """A shared load that fails fails for all who share it, and they do not hang."""
    table = Table({"a": 1}, error=ConnectionError("away"))
    table.gate.clear()
    cache = _cache(table)
    errors: list[str] = []

    def _get() -> None:
        try:
            cache.get("a")
        except ConnectionError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=_get) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: cache.counts.misses == 4)
    table.gate.set()
    for thread in threads:
        thread.join(10)
    assert (errors, table.reads) == (["away"] * 4, ["a"])


def test_a_reader_does_not_wait_for_ever() -> None:
    """A load that hangs in another thread is an error after the time allowed."""
    table = Table({"a": 1})
    table.gate.clear()
    cache = _cache(table, wait_s=0.05)
    (thread,) = _in_threads(1, cache, "a")
    wait_until(lambda: table.reads == ["a"])
    with pytest.raises(LoadStillRunning):
        cache.get("a")
    table.gate.set()
    thread.join(10)


def test_a_key_without_anything_behind_it_is_remembered_for_a_while() -> None:
    """Guessing the same key again does not reach the table, until the time is over."""
    now = [0.0]
    table = Table()
    cache: BoundedCache[str, int] = BoundedCache(
        f"test-{next(_numbers)}", table.load, size=4, negative_ttl_s=5, clock=lambda: now[0]
    )
    assert [cache.get("a"), cache.get("a"), table.reads] == [None, None, ["a"]]
    table.rows["a"] = 1
    now[0] = 4.9
    assert cache.get("a") is None
    now[0] = 5.0
    assert cache.get("a") == 1


def test_guessed_keys_are_bounded_and_push_nothing_out() -> None:
    """A flood of wrong keys neither grows the memory nor evicts a right one."""
    table = Table({"a": 1})
    cache = _cache(table, negative_size=3)
    cache.get("a")
    for number in range(100):
        cache.get(f"wrong-{number}")
    cache.get("wrong-98")
    assert (cache.peek("a"), table.reads.count("wrong-98")) == (1, 1)
    cache.get("wrong-0")
    assert table.reads.count("wrong-0") == 2


def test_what_was_read_lately_outlives_what_was_not() -> None:
    """A full cache evicts what nobody asked for since eviction last passed by."""
    table = Table(dict.fromkeys("abcdefgh", 1))
    cache = _cache(table, size=4)
    for key in "abcd":
        cache.get(key)
    cache.get("a")
    cache.get("c")
    cache.get("e")
    cache.get("f")
    assert [key for key in "abcdef" if cache.peek(key)] == ["a", "c", "e", "f"]
    assert len(cache) == 4


def test_counts_are_metrics() -> None:
    """What a cache does can be seen by its name."""
    table = Table({"a": 1})
    cache = _cache(table)
    for key in ["a", "a", "b", "b"]:
        cache.get(key)
    name = {"name": cache.name}
    assert REGISTRY.get_sample_value("bounded_cache_hits_total", name) == 1
    assert REGISTRY.get_sample_value("bounded_cache_misses_total", name) == 2
    assert REGISTRY.get_sample_value("bounded_cache_negative_hits_total", name) == 1
    assert REGISTRY.get_sample_value("bounded_cache_entries", name) == 1


def test_readers_and_droppers_at_once_never_leave_a_stale_value() -> None:
    """Under any timing, what is cached after the last drop is what the table says."""
    table = Table(dict.fromkeys("abcdefgh", 0))
    cache = _cache(table, size=5)
    stop = threading.Event()
    failures: list[str] = []

    def _read() -> None:
        for key in itertools.cycle("abcdefgh"):
            before = table.rows[key]  # perhaps not dropped yet: 8 less may still be cached
            seen = cache.get(key)
            failures.extend([] if seen is not None and seen >= before - 8 else [f"{key} {seen}"])
            if stop.is_set():
                return

    readers = [threading.Thread(target=_read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number, key in zip(range(1, 2001), itertools.cycle("abcdefgh"), strict=False):
        table.rows[key] = number
        cache.drop(key)
    stop.set()
    for reader in readers:
        reader.join(20)
    assert {key: cache.get(key) for key in "abcdefgh"} == table.rows
    assert len(cache) <= 5
