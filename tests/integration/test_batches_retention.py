"""Batches that are older than their plan keeps runs: forgotten after the last of their runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.ids import encode_ms
from runs.retention import BATCHES_AT_ONCE, forget_old_batches, forget_old_runs
from runs.services.cancellation import cancel_run
from tests.api_client import json_of
from tests.batching import announce, item, read, upload
from tests.running import World, change, check_books, make_world, rows_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def batch_of(world: World, *, days: float, runs: int = 2, **fields: Any) -> tuple[str, list[str]]:
    """Make a batch that began so many days ago, its runs canceled; give its id and theirs."""
    made = announce(world.api, runs, **fields)
    json_of(upload(world.api, made, [item(number) for number in range(runs)]))
    run_ids = read(world.api, made)["runs"]
    for run_id in run_ids:
        cancel_run(environment_id=world.environment_id, run_id=run_id)
    return age(made, days), run_ids


def age(batch_id: str, days: float) -> str:
    """Move a batch into the past, its id and its runs' ends included; give its new id."""
    moment = datetime.now(UTC) - timedelta(days=days)
    old = f"batch_{encode_ms(int(moment.timestamp() * 1000))}{batch_id[-15:]}"
    change(
        "UPDATE runs_batch SET id = %s, created_at = %s, updated_at = %s WHERE id = %s",
        old,
        moment,
        moment,
        batch_id,
    )
    change("UPDATE runs_batchitem SET batch_id = %s WHERE batch_id = %s", old, batch_id)
    change("UPDATE runs_taskrun SET batch_id = %s WHERE batch_id = %s", old, batch_id)
    return old


def forget_runs(*run_ids: str) -> None:
    """Let runs be gone, as `forget_old_runs` leaves them."""
    change("DELETE FROM runs_runsnapshot WHERE run_id = ANY(%s)", list(run_ids))
    change("DELETE FROM runs_taskrun WHERE id = ANY(%s)", list(run_ids))


def batches() -> set[str]:
    """Give the batches there are, as their own table and their items name them."""
    found = rows_of("SELECT id FROM runs_batch UNION SELECT batch_id FROM runs_batchitem")
    return {batch_id for (batch_id,) in found}


def test_a_batch_goes_with_its_items_once_its_runs_are_gone(world: World) -> None:
    """Not before, and no day earlier than its plan says; nothing is left of it but its key."""
    young, young_runs = batch_of(world, days=29)
    old, old_runs = batch_of(world, days=31)
    assert (forget_old_runs(), forget_old_batches()) == (0, 0)
    forget_runs(*young_runs, *old_runs[1:])
    assert forget_old_batches() == 0
    forget_runs(*old_runs)
    assert (forget_old_batches(), forget_old_batches()) == (1, 0)
    assert batches() == {young}
    json_of(world.api.get(f"/api/v2/batches/{old}"), 404)
    check_books()


def test_one_that_was_never_sealed_goes_too(world: World) -> None:
    """Items that never came keep nothing; one that took items lately is kept whole."""
    left = age(announce(world.api, 5), 31)
    busy = age(announce(world.api, 5), 31)
    failing = item(0, options={"region": "nowhere"})
    json_of(upload(world.api, busy, [failing]))
    assert (forget_old_batches(), batches()) == (1, {busy})
    assert left not in batches()
    json_of(upload(world.api, busy, [item(1)]))


def test_a_key_whose_batch_is_gone_makes_a_new_one(world: World) -> None:
    """Also when the key itself was not forgotten yet."""
    body: dict[str, Any] = {"idempotencyKey": "k", "taskIdentifiers": ["hello"]}
    old, runs = batch_of(world, days=31, **body)
    forget_runs(*runs)
    assert forget_old_batches() == 1
    assert announce(world.api, 1, **body) != old


def test_more_than_one_piece_goes_in_one_tick(world: World) -> None:
    """Piece after piece until none is left, of every environment."""
    old = age(announce(world.api, 3), 40)
    change(
        "INSERT INTO runs_batch SELECT (jsonb_populate_record(b, jsonb_build_object('id',"
        " left(b.id, 20) || to_char(n, 'FM000000000')))).* FROM runs_batch b,"
        " generate_series(1, %s) n WHERE b.id = %s",
        2 * BATCHES_AT_ONCE,
        old,
    )
    other = make_world()
    age(announce(other.api, 1), 40)
    assert forget_old_batches() == 2 * BATCHES_AT_ONCE + 2
