"""The names of versions, whatever the clock and however many."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.versions import (
    InvalidVersion,
    Version,
    day_of,
    is_newer,
    next_version,
    parse_version,
)

moments = st.integers(min_value=1_577_836_800, max_value=4_102_444_799).map(
    lambda epoch_s: datetime.fromtimestamp(epoch_s, UTC)  # 2020 to 2099
)
versions = st.builds(
    Version, day=moments.map(day_of), number=st.integers(min_value=1, max_value=999_999_999)
)


@given(versions)
def test_a_version_reads_back_as_itself(version: Version) -> None:
    """Text and value are the same thing."""
    assert parse_version(str(version)) == version


@given(moments, st.lists(versions.map(str)))
def test_the_next_version_is_newer_than_all(now: datetime, taken: list[str]) -> None:
    """Whatever was given out before, the next one comes after it."""
    fresh = str(next_version(day_of(now), taken))
    assert all(is_newer(fresh, than=version) for version in taken)


@given(st.lists(moments, min_size=1, max_size=30))
@pytest.mark.fault(
    kills="clocks jump",
    step="any deployment",
    expects="versions grow, none is given twice",
)
def test_versions_grow_under_any_clock(clock: list[datetime]) -> None:
    """A clock that jumps forth and back never gives a number twice, nor an older one."""
    taken: list[str] = []
    for now in clock:
        taken.append(str(next_version(day_of(now), taken)))
    assert sorted(set(taken), key=parse_version) == taken


@given(moments, st.integers(min_value=0, max_value=200))
def test_versions_count_within_a_day(now: datetime, before: int) -> None:
    """The versions of one day are 1, 2, 3 and so on."""
    day = day_of(now)
    taken = [f"{day}.{number}" for number in range(1, before + 1)]
    assert next_version(day, taken) == Version(day, before + 1)


@given(st.text(max_size=20))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    """Nothing but `YYYYMMDD.N` is read as a version."""
    try:
        version = parse_version(text)
    except InvalidVersion:
        return
    assert str(version) == text


@pytest.mark.parametrize("text", ["20261122.0", "20261122.01", "2026112.1", "20261122", "x.1", ""])
def test_what_only_looks_like_a_version_is_refused(text: str) -> None:
    """A number starts at 1 and has no leading zero."""
    with pytest.raises(InvalidVersion):
        parse_version(text)
