"""Five hundred callers with one key at one moment: one run, and all of them get it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from runs.calls import TriggerCall, Triggered
from runs.errors import KeyNotHeld
from runs.reconcilers import forget_old_keys
from runs.services.keys import reset_key
from runs.services.trigger import trigger_run
from tests.running import World, check_books, failed, make_world, race, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

CALLERS = 500
KEY = "a" * 64


def storm(world: World, **given: object) -> list[Triggered]:
    """Trigger from every caller at once, each with a request key of its own unless one is given."""
    caller = world.caller

    def act(number: int) -> Triggered:
        call = TriggerCall(task="hello", **{"request_key": f"request-{number}", **given})  # type: ignore[arg-type]
        return trigger_run(caller, call, now=datetime.now(UTC))

    return race(CALLERS, act)


def free_key(_world: World) -> None:
    """Leave the key as it is: nobody ever had it."""


def expired_key(world: World) -> None:
    """Let a run have had the key until now."""
    world.trigger(idempotency_key=KEY, idempotency_key_ttl_s=0)


def failed_key(world: World) -> None:
    """Let a run have had the key that then failed."""
    world.trigger(idempotency_key=KEY)
    run_id, snapshot = world.started()
    world.complete(run_id, snapshot, failed(run_id, delay_ms=None))


def forgotten_key(world: World) -> None:
    """Let a run have had the key that was then forgotten."""
    world.trigger(idempotency_key=KEY)
    reset_key(environment_id=world.environment_id, task="hello", key=KEY, now=datetime.now(UTC))


@pytest.mark.fault(
    kills="nothing: five hundred triggers with one key at one moment",
    step="triggering, the key free, forgotten, expired or of a failed run",
    expects="one run, which all of them are told",
)
@pytest.mark.parametrize("before", [free_key, expired_key, failed_key, forgotten_key])
def test_one_key_makes_one_run(before: Callable[[World], None]) -> None:
    """Whoever comes first makes it; all others get it, and are told that it was there."""
    world = make_world()
    before(world)
    ((already,),) = rows_of("SELECT count(*) FROM runs_taskrun")
    made = storm(world, idempotency_key=KEY)
    assert len(made) == CALLERS
    assert len({one.run_id for one in made}) == 1
    assert [one.is_cached for one in made].count(False) == 1
    assert rows_of("SELECT count(*) FROM runs_taskrun") == [(already + 1,)]
    assert rows_of("SELECT run_id FROM runs_idempotencykey") == [(made[0].run_id,)]
    check_books()


def test_one_request_makes_one_run() -> None:
    """A request that is repeated five hundred times at once is the first one, never cached."""
    world = make_world()
    made = storm(world, request_key="request")
    assert len({one.run_id for one in made}) == 1
    assert not any(one.is_cached for one in made)
    assert rows_of("SELECT count(*) FROM runs_taskrun") == [(1,)]
    check_books()


def test_a_key_that_is_held_stays_held() -> None:
    """While a run of the key waits, runs, or is done, five hundred callers make nothing new."""
    world = make_world()
    first = world.trigger(idempotency_key=KEY)
    assert {one.run_id for one in storm(world, idempotency_key=KEY)} == {first}
    world.complete(*world.started())
    made = storm(world, idempotency_key=KEY)
    assert {(one.run_id, one.is_cached) for one in made} == {(first, True)}


def test_forgetting_while_everybody_triggers() -> None:
    """Each time the key is forgotten one more run is made, and none besides; pruning is harmless."""
    world = make_world()
    caller = world.caller
    forgotten: list[int] = []

    def act(number: int) -> Triggered | None:
        if number % 10 == 0:
            try:
                reset_key(
                    environment_id=world.environment_id,
                    task="hello",
                    key=KEY,
                    now=datetime.now(UTC),
                )
                forgotten.append(number)
            except KeyNotHeld:
                return None
            forget_old_keys()
            return None
        call = TriggerCall(task="hello", idempotency_key=KEY)
        return trigger_run(caller, call, now=datetime.now(UTC))

    answers = [one for one in race(100, act) if one is not None]
    runs = {one.run_id for one in answers}
    assert len(runs) in {len(forgotten), len(forgotten) + 1}
    assert [one.is_cached for one in answers].count(False) == len(runs)
    assert rows_of("SELECT count(*) FROM runs_taskrun") == [(len(runs),)]
    check_books()
