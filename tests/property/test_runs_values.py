"""Laws of the pure parts of runs, and of the database's own snapshot ids."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.ids import encode_ms
from runs.durations import MAX_S, key_ttl_s, seconds_of, text_of
from runs.lanes import lane_id_of
from runs.retry import (
    LOST,
    MAX_ATTEMPTS,
    MAX_LOST_ATTEMPTS,
    Failure,
    decide_after_failure,
    dispatch_delay_ms,
    redelivery_delay_ms,
    settings_delay_ms,
)
from runs.states import FINAL
from runs.storable import storable
from tests.running import rows_of
from tests.sizes import examples

TEXTS = st.text(max_size=8)
LANES = st.tuples(TEXTS, TEXTS, TEXTS, TEXTS)
MILLISECONDS = st.integers(0, 2**48 - 1)
TAILS = st.text(alphabet="0123456789abcdefghijklmnopqrstuv", min_size=15, max_size=15)


@given(LANES, LANES)
def test_different_lanes_have_different_ids(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """The id depends on all four parts, and on where one ends and the next begins."""
    first, second = lane_id_of(*one[:4]), lane_id_of(*other[:4])
    assert (first == second) == (one == other)


@given(st.lists(TEXTS, min_size=4, max_size=4), st.integers(0, 2))
def test_moving_a_letter_moves_the_lane(parts: list[str], at: int) -> None:
    """Parts are not simply written one behind the other."""
    moved = [*parts]
    moved[at], moved[at + 1] = parts[at] + "x", parts[at + 1]
    shifted = [*parts]
    shifted[at], shifted[at + 1] = parts[at], "x" + parts[at + 1]
    assert lane_id_of(*moved) != lane_id_of(*shifted)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_for_redelivery_are_bounded(deliveries: int, jitter: float) -> None:
    """Between the doubled base and twice it, never over an hour; a failed start at most a minute."""
    wait_ms = redelivery_delay_ms(deliveries, jitter=jitter)
    base_ms = 1000 * 2 ** (deliveries - 1)
    assert min(base_ms, 3_600_000) <= wait_ms <= min(2 * base_ms, 3_600_000)
    assert 1000 <= dispatch_delay_ms(deliveries) <= 60_000
    assert dispatch_delay_ms(deliveries) <= dispatch_delay_ms(deliveries + 1)


NUMBERS = st.floats(0, 1e300, allow_nan=False)
SETTINGS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "minTimeoutInMs": NUMBERS,
        "maxTimeoutInMs": NUMBERS,
        "factor": st.floats(1e-9, 1e300),
        "randomize": st.booleans(),
    },
)


@given(SETTINGS, st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_any_retry_settings_give_a_wait(
    retry: dict[str, float | bool] | None, attempt: int, jitter: float
) -> None:
    """A whole number of milliseconds, never over the settings' cap nor over a year."""
    wait_ms = settings_delay_ms(retry, attempt, jitter=jitter)
    cap_ms = min((retry or {}).get("maxTimeoutInMs", 60_000), 365 * 86_400_000)
    assert 0 <= wait_ms <= cap_ms


FAILURES = st.builds(
    Failure,
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["INTERNAL_ERROR", "BUILT_IN_ERROR"]),
            "code": st.sampled_from(sorted(LOST)) | st.text(),
        }
    ),
    attempt_number=st.integers(1, 300),
    max_attempts=st.integers(1, 1000),
    retry_delay_ms=st.none() | st.floats(allow_nan=False),
    lost_attempts=st.integers(0, 20),
    settings_delay_ms=st.integers(0, 365 * 86_400_000),
    skipped_retrying=st.booleans(),
    force_queue=st.booleans(),
)


@given(FAILURES)
def test_every_failure_has_a_consequence(failure: Failure) -> None:
    """A final status should it end, a wait that is whole and within a year, never a last attempt more."""
    decided = decide_after_failure(failure)
    assert decided.status in FINAL
    assert 0 <= decided.delay_ms <= 365 * 86_400_000
    if decided.is_lost:
        assert failure.max_attempts > 1
        assert failure.lost_attempts < MAX_LOST_ATTEMPTS
    elif failure.attempt_number >= failure.max_attempts + failure.lost_attempts:
        assert decided.after in {"end", "cancel"}
    if failure.attempt_number >= MAX_ATTEMPTS:
        assert decided.after in {"end", "cancel"}


@given(st.integers(0, MAX_S))
def test_durations_read_as_they_are_written(seconds: int) -> None:
    """Writing and reading a duration gives it again."""
    assert seconds_of(text_of(seconds)) == seconds


@given(st.text(), st.integers(0, MAX_S))
def test_any_text_is_a_lifetime(text: str, default: int) -> None:
    """A key's lifetime is never an error and never beyond the bound."""
    assert 0 <= key_ttl_s(text, default_s=default) <= MAX_S
    assert seconds_of(text) is None or 0 <= (seconds_of(text) or 0) <= MAX_S


@given(st.text(alphabet=st.characters(codec=None)))
def test_storable_text_can_be_stored(text: str) -> None:
    """It has the same length, can be written as UTF-8 and has no NUL; doing it again does nothing."""
    kept = storable(text)
    assert len(kept) == len(text)
    assert "\x00" not in kept
    assert kept.encode().decode() == kept == storable(kept)


@pytest.mark.django_db
@settings(max_examples=examples(50), suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(MILLISECONDS, TAILS), min_size=2, max_size=30))
@pytest.mark.fault(
    kills="clocks jump or disagree",
    step="any move",
    expects="a newer snapshot has a greater id",
)
def test_snapshot_ids_go_up_whatever_the_clocks_say(clocks: list[tuple[int, str]]) -> None:
    """The later of the clock and the previous id's millisecond plus one, as the model computes it."""
    candidates = [f"snapshot_{encode_ms(ms)}{tail}" for ms, tail in clocks]
    previous, previous_ms = candidates[0], clocks[0][0]
    for candidate, (ms, tail) in zip(candidates[1:], clocks[1:], strict=True):
        ((made,),) = rows_of("SELECT runs_next_snapshot_id(%s, %s)", previous, candidate)
        expected_ms = ms if candidate > previous else previous_ms + 1
        assert made == f"snapshot_{encode_ms(expected_ms)}{tail}"
        assert made > previous
        previous, previous_ms = made, expected_ms


@pytest.mark.django_db
def test_the_first_snapshot_takes_its_own_time() -> None:
    """Without a previous one the candidate is the id; a carry goes through every digit."""
    made = rows_of(
        "SELECT runs_next_snapshot_id(NULL, %s), runs_next_snapshot_id(%s, %s)",
        "snapshot_0000000001" + "a" * 15,
        "snapshot_00000vvvvv" + "a" * 15,
        "snapshot_0000000000" + "b" * 15,
    )
    assert made == [("snapshot_0000000001" + "a" * 15, "snapshot_0000100000" + "b" * 15)]
