"""A bounded cache that loads what it misses once, and never keeps what was dropped meanwhile.

A hit is a dictionary read and two attribute writes, without a lock. Everything that changes the
cache happens under one lock, which is never held while a value is loaded.
"""

from __future__ import annotations

import threading
import time
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ledger.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

K = TypeVar("K")
V = TypeVar("V")

DEFAULT_WAIT_S = 30.0


class LoadStillRunning(TimeoutError):
    """Another thread has been loading this key for too long."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[V]):
    value: V
    was_used: bool = False  # read since the last time eviction passed by


@dataclass(slots=True)
class CacheCounts:
    """What a cache has done so far. A hit is counted without a lock: a race may lose one."""

    hits: int = 0
    negative_hits: int = 0
    misses: int = 0
    evictions: int = 0
    drops: int = 0  # calls, not entries
    stale_loads: int = 0  # loads whose key was dropped while they ran; their result was not kept


class BoundedCache(Generic[K, V]):
    """At most `size` values, those read lately rather than others.

    A value stays until it is evicted or dropped: whoever changes the thing behind it has to drop
    it. That nothing is behind a key is remembered for `negative_ttl_s` only, apart from the values
    and bounded by `negative_size`, so that guessing keys neither reaches the loader each time nor
    pushes values out.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[K], V | None],
        *,
        size: int,
        negative_size: int = 1000,
        negative_ttl_s: float = 5.0,
        wait_s: float = DEFAULT_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty cache.

        `load` gives the value of a key, or None when nothing is behind it; what it raises, `get`
        raises. `wait_s` bounds how long a reader waits for another reader's load.
        """
        if size < 1 or negative_size < 0:
            raise ValueError(f"cache {name}: size {size}, negative_size {negative_size}")
        self.name = name
        self.counts = CacheCounts()
        self._load = load
        self._size = size
        self._negative_size = negative_size
        self._negative_ttl_s = negative_ttl_s
        self._wait_s = wait_s
        self._clock = clock
        self._entries: dict[K, _Entry[V]] = {}  # in the order eviction passes by
        self._absent: dict[K, float] = {}  # key -> when that is forgotten, oldest first
        self._loads: dict[K, Future[V | None]] = {}  # the loads whose results may be kept
        self._lock = threading.Lock()
        _collector.caches.add(self)
        renew_after_fork(self)

    def get(self, key: K) -> V | None:
        """Give the value of a key, loading it on a miss; None when nothing is behind it.

        Threads that miss the same key at once share one load. A `get` that starts after a drop
        never gives what was loaded before it. Raise what the loader raises, or `LoadStillRunning`.
        """
        entry = self._entries.get(key)
        if entry is not None:
            entry.was_used = True
            self.counts.hits += 1
            return entry.value
        return self._get_missing(key)

    def peek(self, key: K) -> V | None:
        """Give the value of a key if it is in memory. Never loads, counts nothing."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def drop(self, key: K) -> None:
        """Forget a key; a load of it that is running now will not be kept."""
        with self._lock:
            self.counts.drops += 1
            self._entries.pop(key, None)
            self._absent.pop(key, None)
            self._loads.pop(key, None)

    def drop_where(self, is_affected: Callable[[K, V], bool]) -> None:
        """Forget the values this is true of, and every key with nothing behind it.

        What the running loads will give cannot be known yet, so none of them will be kept.
        """
        with self._lock:
            self.counts.drops += 1
            for key in [
                key for key, entry in self._entries.items() if is_affected(key, entry.value)
            ]:
                del self._entries[key]
            self._absent.clear()
            self._loads.clear()

    def clear(self) -> None:
        """Forget everything; no load that is running now will be kept."""
        self.drop_where(lambda _key, _value: True)

    def __len__(self) -> int:
        return len(self._entries)

    def after_fork(self) -> None:
        """Make the lock anew in a forked child, where nobody is left to end a load."""
        self._lock = threading.Lock()
        self._loads = {}

    # -- misses ------------------------------------------------------------------------------------

    def _get_missing(self, key: K) -> V | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                return entry.value
            if self._is_known_absent(key):
                self.counts.negative_hits += 1
                return None
            self.counts.misses += 1
            running = self._loads.get(key)
            if running is None:
                mine: Future[V | None] = Future()
                self._loads[key] = mine
        if running is not None:
            return self._wait_for(running)
        return self._load_and_keep(key, mine)

    def _is_known_absent(self, key: K) -> bool:
        until_s = self._absent.get(key)
        if until_s is None:
            return False
        if self._clock() < until_s:
            return True
        del self._absent[key]
        return False

    def _wait_for(self, running: Future[V | None]) -> V | None:
        try:
            return running.result(self._wait_s)
        except FutureTimeoutError:
            if running.done():
                raise  # the loader itself raised it
            raise LoadStillRunning(
                f"cache {self.name}: another load did not end in {self._wait_s} s"
            ) from None

    def _load_and_keep(self, key: K, mine: Future[V | None]) -> V | None:
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                self._is_still_wanted(key, mine)
            mine.set_exception(error)
            raise
        with self._lock:
            if self._is_still_wanted(key, mine):
                self._keep(key, value)
        mine.set_result(value)
        return value

    def _is_still_wanted(self, key: K, mine: Future[V | None]) -> bool:
        """Take the load off the list; false when a drop did so before."""
        if self._loads.get(key) is mine:
            del self._loads[key]
            return True
        self.counts.stale_loads += 1
        return False

    def _keep(self, key: K, value: V | None) -> None:
        if value is None:
            self._keep_absent(key)
            return
        while len(self._entries) >= self._size:
            self._evict_one()
        self._entries[key] = _Entry(value)

    def _keep_absent(self, key: K) -> None:
        if self._negative_size == 0:
            return
        while len(self._absent) >= self._negative_size:
            del self._absent[next(iter(self._absent))]
        self._absent[key] = self._clock() + self._negative_ttl_s

    def _evict_one(self) -> None:
        """Remove the first entry in line that was not read lately; the others line up again."""
        while True:
            key = next(iter(self._entries))
            entry = self._entries[key]
            if not entry.was_used:
                break
            # A reader who comes between these lines waits for the lock and finds the entry again.
            del self._entries[key]
            entry.was_used = False
            self._entries[key] = entry
        del self._entries[key]
        self.counts.evictions += 1


class _CacheCollector(Collector):
    """Reads the counts of all caches when Prometheus asks, so that a hit costs no metric's lock."""

    def __init__(self) -> None:
        self.caches: weakref.WeakSet[BoundedCache[Any, Any]] = weakref.WeakSet()

    def collect(self) -> Iterator[Metric]:
        """Give one family per count and one for the sizes."""
        caches = sorted(self.caches, key=lambda cache: cache.name)
        for name in CacheCounts.__slots__:
            family = CounterMetricFamily(
                f"bounded_cache_{name}", f"{name.replace('_', ' ')} so far", labels=["name"]
            )
            _add(family, ((cache.name, getattr(cache.counts, name)) for cache in caches))
            yield family
        sizes = GaugeMetricFamily("bounded_cache_entries", "values in memory", labels=["name"])
        _add(sizes, ((cache.name, len(cache)) for cache in caches))
        yield sizes


def _add(
    family: CounterMetricFamily | GaugeMetricFamily, samples: Iterable[tuple[str, int]]
) -> None:
    totals: dict[str, int] = {}
    for name, value in samples:
        totals[name] = totals.get(name, 0) + value
    for name, total in totals.items():
        family.add_metric([name], total)


_collector = _CacheCollector()
REGISTRY.register(_collector)
