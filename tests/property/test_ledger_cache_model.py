"""The cache against the table behind it, with writes and drops in the middle of loads."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.cache import BoundedCache
from tests.sizes import examples

KEYS = st.sampled_from("abcdefgh")
ROWS = st.none() | st.integers(0, 3)
CHANGES = st.tuples(st.sampled_from(["drop", "where", "clear"]), KEYS, ROWS)
_numbers = itertools.count()


class Cache(RuleBasedStateMachine):
    """Whoever writes a row drops it afterwards; loads read early and answer late."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.rows: dict[str, int] = {}
        self.during_load: list[tuple[str, str, int | None]] = []
        self.reads_during_load: list[str] = []
        self.size = self.negative_size = 1

    @initialize(size=st.integers(1, 5), negative_size=st.integers(0, 3))
    def make(self, size: int, negative_size: int) -> None:
        """Any size will do."""
        self.size, self.negative_size = size, negative_size
        self.cache: BoundedCache[str, int] = BoundedCache(
            f"model-{next(_numbers)}",
            self.load,
            size=size,
            negative_size=negative_size,
            negative_ttl_s=5,
            clock=lambda: self.now_s,
        )

    def load(self, key: str) -> int | None:
        """Read the row first, then let everything else happen, then answer."""
        row = self.rows.get(key)
        changes, self.during_load = self.during_load, []
        for change in changes:
            self.write(*change)
        reads, self.reads_during_load = self.reads_during_load, []
        for other in reads:
            if other != key or other not in self.cache._loads:
                assert self.cache.get(other) == self.rows.get(other)
        return row

    def write(self, how: str, key: str, row: int | None) -> None:
        """Change a row, then drop what depends on it in one of the ways there are."""
        self.rows = {other: value for other, value in self.rows.items() if other != key}
        self.rows |= {} if row is None else {key: row}
        if how == "drop":
            self.cache.drop(key)
        elif how == "where":
            self.cache.drop_where(lambda cached, _value: cached == key)
        else:
            self.cache.clear()

    @rule(change=CHANGES)
    def somebody_writes(self, change: tuple[str, str, int | None]) -> None:
        """Change a row while nothing is being loaded."""
        self.write(*change)

    @rule(key=KEYS)
    def somebody_reads(self, key: str) -> None:
        """Read what the table says."""
        assert self.cache.get(key) == self.rows.get(key)

    @rule(key=KEYS, changes=st.lists(CHANGES, max_size=3), reads=st.lists(KEYS, max_size=3))
    def rows_change_while_somebody_reads(
        self, key: str, changes: list[tuple[str, str, int | None]], reads: list[str]
    ) -> None:
        """Give the reader what it was when it asked, and nobody after it."""
        before = self.rows.get(key)
        self.during_load, self.reads_during_load = changes, reads
        seen = self.cache.get(key)
        assert seen == before
        self.during_load, self.reads_during_load = [], []
        assert self.cache.get(key) == self.rows.get(key)

    @rule(seconds=st.sampled_from([1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        """Let what is remembered as absent be forgotten."""
        self.now_s += seconds

    @invariant()
    def what_is_cached_is_what_the_table_says(self) -> None:
        """No value outlives the drop that followed its change, whatever ran meanwhile."""
        if hasattr(self, "cache"):
            cached = {key: self.cache.peek(key) for key in "abcdefgh"}
            assert {key: row for key, row in cached.items() if row is not None}.items() <= (
                self.rows.items()
            )

    @invariant()
    def nothing_grows(self) -> None:
        """Values, absent keys and loads are bounded."""
        if hasattr(self, "cache"):
            assert len(self.cache) <= self.size
            assert len(self.cache._absent) <= self.negative_size
            assert not self.cache._loads


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=examples(150), stateful_step_count=30)
