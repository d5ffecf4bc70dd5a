"""Laws of time in the engine: what is old, how long a loss waits, and how a run is brought back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger.ids import new_id
from runs.books import Place, decide_repair
from runs.durations import moment_of, text_of
from runs.retention import kept_since
from runs.retry import REDELIVERY_CAP_MS, redelivery_delay_ms
from runs.states import ExecutionStatus

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAYS = st.integers(1, 20_000)
PLACES = st.frozensets(st.sampled_from(Place))
STATUSES = st.sampled_from(ExecutionStatus)


@given(DAYS, st.integers(-(10**12), 10**12))
def test_an_id_is_old_exactly_when_its_run_is(days: int, ms: int) -> None:
    """The bound on ids and the bound on times say the same of every run."""
    (kept,) = kept_since({"free": days}, now=NOW)
    since_ms = int(kept.since.timestamp() * 1000)
    run_ms = max(0, since_ms + ms)
    assert (new_id("run", now_us=run_ms * 1000) < kept.since_id("run")) == (run_ms < since_ms)


@given(st.dictionaries(st.sampled_from(["free", "paid", "enterprise"]), st.integers(0, 36_500)))
def test_more_days_keep_more(days: dict[str, int]) -> None:
    """Each plan that forgets has one moment, as many days back as it says."""
    kept = {each.plan: each.since for each in kept_since(days, now=NOW)}
    assert kept == {plan: NOW - timedelta(days=many) for plan, many in days.items() if many}


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_a_loss_waits_between_once_and_twice_its_step(deliveries: int, jitter: float) -> None:
    """Never less than a second, never more than an hour, and never less than the loss before."""
    step_ms = 1000 * 2 ** (deliveries - 1)
    waited = redelivery_delay_ms(deliveries, jitter=jitter)
    assert min(step_ms, REDELIVERY_CAP_MS) <= waited <= min(2 * step_ms, REDELIVERY_CAP_MS)
    assert waited >= redelivery_delay_ms(max(1, deliveries - 1), jitter=jitter)


@given(STATUSES, PLACES)
def test_a_repair_changes_as_little_as_it_can(status: ExecutionStatus, found: set[Place]) -> None:
    """It leaves only places the run is in, enters only one it is not in, and never for nothing."""
    repair = decide_repair(status, frozenset(found))
    if repair is not None:
        assert repair.leave <= found
        assert repair.enter not in found
        assert repair.leave or repair.enter


@given(st.integers(0, 10**8))
def test_a_delay_written_as_a_duration_is_that_moment(seconds: int) -> None:
    """What is stored of a ttl and asked of a reschedule is one way of writing time."""
    assert moment_of(text_of(seconds), now=NOW) == NOW + timedelta(seconds=seconds)
