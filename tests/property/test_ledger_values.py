"""Ids and followed revisions, for all values and all orders."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ledger.chain import canonical_text, stored_value
from ledger.ids import MAX_MS, decode_ms, encode_ms, id_time_ms, new_id
from ledger.progress import Progress, has_applied, note_applied, note_polled

TIMES = st.integers(0, MAX_MS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(TIMES)
def test_every_time_comes_back(ms: int) -> None:
    """Encoding a time loses nothing, in ids neither."""
    assert decode_ms(encode_ms(ms)) == id_time_ms(new_id("x_y", now_us=ms * 1000 + 999)) == ms


@given(TIMES, TIMES)
def test_ids_sort_as_their_times_do(one: int, other: int) -> None:
    """The order of ids made at different times is that of the times."""
    ids = (new_id("run", now_us=one), new_id("run", now_us=other))
    assert one == other or (ids[0] < ids[1]) == (one < other)


@given(JSON)
def test_storing_twice_is_storing_once(value: object) -> None:
    """A value in its stored form stays as it is, and so does its text."""
    stored = stored_value(value)
    assert canonical_text(stored_value(stored)) == canonical_text(stored)
    assert canonical_text(json.loads(canonical_text(stored))) == canonical_text(stored)


@given(
    st.permutations(range(1, 13)),
    st.sets(st.integers(1, 12)),
    st.sets(st.integers(0, 11)),
)
def test_served_never_runs_ahead_of_what_was_applied(
    order: list[int], lost: set[int], polls: set[int]
) -> None:
    """With messages lost and out of order, everything up to `served` was applied, always."""
    progress, applied, newest = Progress(served=0), set[int](), 0
    for step, revision in enumerate(order):
        newest = max(newest, revision)  # it is committed, and so is what came before it
        if revision not in lost:
            progress = note_applied(progress, revision)
            applied.add(revision)
        if step in polls:
            asked = progress.served or 0
            applied |= set(range(asked + 1, newest + 1))
            progress = note_polled(progress, asked=asked, found=newest)
            assert (progress.served, progress.has_gap) == (newest, False)
        assert set(range(1, (progress.served or 0) + 1)) <= applied
        assert all(has_applied(progress, one) for one in applied)
