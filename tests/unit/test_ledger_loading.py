"""When a registry loads and what it applies, case by case."""

from __future__ import annotations

import pytest

from ledger.loading import Loading, LoadPolicy, Start, Wait, advance, ask, fail, finish, lost_loads

POLICY = LoadPolicy(interval_s=5.0, timeout_s=10.0, jitter=0.2)


def _advance(state: Loading, now_s: float, chance: float = 0.0) -> tuple[Loading, Start | Wait]:
    return advance(state, POLICY, now_s=now_s, chance=chance)


def _finish(
    state: Loading, number: int, now_s: float, revision: int | None = None, chance: float = 0.0
) -> tuple[Loading, bool]:
    return finish(state, POLICY, number, revision=revision, now_s=now_s, chance=chance)


def _fail(state: Loading, number: int, now_s: float, chance: float = 0.0) -> Loading:
    return fail(state, POLICY, number, now_s=now_s, chance=chance)


def test_the_first_load_is_due_at_once() -> None:
    """A registry that starts loads immediately, and waits for that load's deadline."""
    state, decision = _advance(Loading(), 0.0)
    assert decision == Start(1)
    assert _advance(state, 0.5)[1] == Wait(10.0)


def test_the_interval_begins_when_a_load_ends() -> None:
    """A load longer than the interval does not overlap with the next, and is applied."""
    state, _ = _advance(Loading(), 0.0)
    state, applies = _finish(state, 1, 6.0)
    assert (applies, _advance(state, 6.0)[1]) == (True, Wait(11.0))
    assert _advance(state, 11.0)[1] == Start(2)


def test_chance_only_shortens_the_interval() -> None:
    """The interval is a promise, so jitter takes away and never adds."""
    state, _ = _advance(Loading(), 0.0)
    state, _ = _finish(state, 1, 0.0, chance=0.5)
    assert _advance(state, 0.0)[1] == Wait(4.5)


def test_failures_back_off_exponentially_up_to_a_minute() -> None:
    """The waits after failures in a row are 1, 2, 4, ... 60 s, and polling never ends."""
    state, now_s, waits = Loading(), 0.0, []
    for number in range(1, 10):
        state, decision = _advance(state, now_s)
        assert decision == Start(number)
        state = _fail(state, number, now_s)
        waits.append(state.next_at_s - now_s)
        now_s = state.next_at_s
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_success_ends_the_back_off() -> None:
    """After a good load the next failure waits 1 s again."""
    state, _ = _advance(Loading(failures=6), 0.0)
    state, _ = _finish(state, 1, 0.0)
    state, _ = _advance(state, 5.0)
    assert _fail(state, 2, 5.0).next_at_s == 6.0


def test_years_of_failures_still_wait_a_minute() -> None:
    """The doubling cannot overflow."""
    state, _ = _advance(Loading(failures=10**6), 0.0)
    assert _fail(state, 1, 0.0).next_at_s == 60.0


def test_a_wake_up_starts_a_load_at_once_even_in_a_back_off() -> None:
    """Who says that something changed does not wait for the interval nor for the back-off."""
    state, _ = _advance(Loading(failures=5), 0.0)
    state = ask(_fail(state, 1, 0.0))
    assert _advance(state, 0.001)[1] == Start(2)


def test_a_wake_up_during_a_load_causes_one_more_after_it() -> None:
    """A load that was already reading may have missed the change."""
    state, _ = _advance(Loading(), 0.0)
    state = ask(ask(state))
    assert _advance(state, 0.1)[1] == Wait(10.0)
    state, _ = _finish(state, 1, 1.0)
    state, decision = _advance(state, 1.0)
    assert decision == Start(2)
    state, _ = _finish(state, 2, 2.0)
    assert _advance(state, 2.0)[1] == Wait(7.0)


def test_a_load_past_its_deadline_is_given_up_and_counts_as_failed() -> None:
    """A hanging load does not stop the polling."""
    state, _ = _advance(Loading(), 0.0)
    state, decision = _advance(state, 10.0)
    assert (decision, state.failed, lost_loads(state)) == (Wait(11.0), 1, 1)
    assert _advance(state, 11.0)[1] == Start(2)


def test_a_late_result_is_applied_when_nothing_newer_is() -> None:
    """A load that was given up still counts if it comes back first."""
    state, _ = _advance(Loading(), 0.0)
    state, _ = _advance(state, 10.0)
    state, applies = _finish(state, 1, 20.0)
    assert (applies, state.applied, lost_loads(state)) == (True, 1, 0)


def test_a_late_result_never_replaces_a_newer_one() -> None:
    """A slow old load cannot take back what a later one brought."""
    state, _ = _advance(Loading(), 0.0)
    state, _ = _advance(state, 10.0)
    state, _ = _advance(state, 11.0)
    state, _ = _finish(state, 2, 12.0)
    state, applies = _finish(state, 1, 13.0)
    assert (applies, state.applied) == (False, 2)


def test_of_loads_side_by_side_the_greater_revision_stays() -> None:
    """A load that started later but read earlier is not applied, and another one follows."""
    state, _ = _advance(Loading(), 0.0)
    state, _ = _advance(state, 10.0)
    state, _ = _advance(state, 11.0)
    state, _ = _finish(state, 1, 12.0, revision=9)
    state, applies = _finish(state, 2, 13.0, revision=8)
    assert (applies, state.applied, state.applied_revision) == (False, 1, 9)
    assert _advance(state, 13.0)[1] == Start(3)


def test_a_lone_load_may_go_back_in_revisions() -> None:
    """After a backup was restored the database is right, not the memory."""
    state = Loading(started=3, applied=3, applied_revision=9)
    state, _ = _advance(state, 0.0)
    state, applies = _finish(state, 4, 1.0, revision=2)
    assert (applies, state.applied_revision) == (True, 2)


def test_the_failure_of_a_load_given_up_counts_once() -> None:
    """A load that was given up and then raises is one failure, not two."""
    state, _ = _advance(Loading(), 0.0)
    state, _ = _advance(state, 10.0)
    assert _fail(state, 1, 12.0).failures == 1


@pytest.mark.parametrize(("lost", "decision"), [(7, Start(9)), (8, Wait(100.0))])
def test_many_lost_loads_slow_wake_ups_down(lost: int, decision: Start | Wait) -> None:
    """When loads never come back, wake-ups do not pile up threads without end."""
    state = ask(Loading(started=8, in_flight=dict.fromkeys(range(lost), 0), next_at_s=100.0))
    assert _advance(state, 1.0)[1] == decision
