"""Items become runs: repeated, raced, killed in the middle, with keys, delays and unknown tasks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connection

from ledger.connections import release_connections
from runs.batches import BatchItem, NewBatch
from runs.calls import TriggerCall
from runs.reconcilers import forget_old_keys, release_due_runs, release_waiting_versions
from runs.services.batch_items import add_items, get_open_batch
from runs.services.batches import create_batch
from tests.running import (
    World,
    change,
    check_books,
    make_due,
    make_version,
    make_world,
    race,
    rows_of,
    run_of,
    states_of,
    task,
)
from tests.servers import wait_until

if TYPE_CHECKING:
    from runs.batches import Added, OpenBatch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

RACERS = 6


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def new_batch(world: World, count: int, **fields: Any) -> OpenBatch:
    """Announce a batch."""
    made = create_batch(
        world.caller, NewBatch(run_count=count, **fields), rate=None, now=datetime.now(UTC)
    )
    return get_open_batch(environment_id=world.environment_id, batch_id=made.id)


def items(*indexes: int, slug: str = "hello", **call: Any) -> list[BatchItem]:
    """Give items with these indexes, all of one call."""
    return [BatchItem(index, TriggerCall(task=slug, **call)) for index in indexes]


def add(world: World, batch: OpenBatch, given: list[BatchItem]) -> Added:
    """Add items now."""
    return add_items(world.caller, batch, given, now=datetime.now(UTC))


def runs_of(batch: OpenBatch) -> list[str | None]:
    """Give the run of each item, in their order."""
    found = rows_of(
        "SELECT run_id FROM runs_batchitem WHERE batch_id = %s ORDER BY item_index", batch.id
    )
    return [run_id for (run_id,) in found]


def count_runs() -> int:
    """Give how many runs there are."""
    ((count,),) = rows_of("SELECT count(*) FROM runs_taskrun")
    return int(count)


class TestRepeats:
    """A piece may be sent again, by anyone, at any time."""

    def test_a_repeated_piece_changes_nothing(self, world: World) -> None:
        """Its items are there; only what is new becomes runs."""
        batch = new_batch(world, 5)
        assert add(world, batch, items(0, 1, 2)).accepted == 3
        before = runs_of(batch)
        again = add(world, batch, items(0, 1, 2))
        assert (again.accepted, again.deduplicated, again.is_sealed) == (0, 3, False)
        more = add(world, batch, items(*range(5)))
        assert (more.accepted, more.deduplicated, more.is_sealed) == (2, 3, True)
        assert (runs_of(batch)[:3], count_runs()) == (before, 5)
        check_books()

    def test_the_same_piece_from_many_senders_is_written_once(self, world: World) -> None:
        """They take turns, and the batch is sealed by exactly one of them."""
        batch = new_batch(world, 20)
        added = race(RACERS, lambda _: add(world, batch, items(*range(20))))
        assert sorted(one.accepted for one in added) == [0] * (RACERS - 1) + [20]
        assert all(one.is_sealed for one in added)
        assert (count_runs(), len(set(runs_of(batch)))) == (20, 20)
        check_books()

    def test_different_pieces_at_one_moment_are_all_written(self, world: World) -> None:
        """Whoever comes last seals the batch, and nobody else does."""
        batch = new_batch(world, RACERS * 3)
        added = race(RACERS, lambda n: add(world, batch, items(*range(n * 3, n * 3 + 3))))
        assert [one.accepted for one in added] == [3] * RACERS
        assert [one.is_sealed for one in added].count(True) == 1
        assert count_runs() == RACERS * 3
        check_books()

    def test_a_connection_killed_in_the_middle_has_written_nothing(self, world: World) -> None:
        """The piece before it stays; the whole stream sent again completes the batch."""
        batch = new_batch(world, 6)
        add(world, batch, items(0, 1, 2))
        kept = runs_of(batch)
        with _turns_locked(world) as stuck:
            failure = stuck(lambda: add(world, batch, items(3, 4, 5, concurrency_key="new lane")))
        assert isinstance(failure, OperationalError), failure
        assert (runs_of(batch), count_runs()) == (kept, 3)
        check_books()
        assert add(world, batch, items(*range(6))).is_sealed
        assert (runs_of(batch)[:3], count_runs()) == (kept, 6)
        check_books()

    def test_lanes_are_opened_without_waiting_in_a_circle(self, world: World) -> None:
        """Batches and single triggers that open the same new lanes in other orders all succeed."""
        keys = [f"key-{n}" for n in range(8)]

        def act(number: int) -> object:
            ordered = keys if number % 2 else keys[::-1]
            if number < 2:
                return [world.trigger(concurrency_key=key) for key in ordered]
            batch = new_batch(world, len(keys))
            given = [
                BatchItem(n, TriggerCall(task="hello", concurrency_key=key))
                for n, key in enumerate(ordered)
            ]
            return add(world, batch, given).is_sealed

        race(RACERS, act)
        assert count_runs() == RACERS * len(keys)
        check_books()


class _turns_locked:  # noqa: N801  read as a sentence
    """Hold what every new lane needs, let somebody wait for it, and kill their connection."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> Any:
        from django.db import transaction

        self._atomic = transaction.atomic()
        self._atomic.__enter__()
        rows_of(
            "SELECT 1 FROM runs_environmentturn WHERE environment_id = %s FOR UPDATE",
            self._world.environment_id,
        )
        return self._kill

    def _kill(self, act: Any) -> BaseException | None:
        failures: list[BaseException] = []

        def stuck() -> None:
            try:
                act()
            except OperationalError as error:
                failures.append(error)
            finally:
                release_connections()

        thread = threading.Thread(target=stuck)
        thread.start()
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: bool(rows_of(waiting)), what="nobody waits for the turn")
        rows_of("SELECT pg_terminate_backend(%s)", rows_of(waiting)[0][0])
        thread.join(10)
        return failures[0] if failures else None

    def __exit__(self, *_failure: object) -> None:
        self._atomic.__exit__(None, None, None)


class TestKeys:
    """Items with idempotency keys."""

    def test_an_item_finds_the_run_that_has_its_key(self, world: World) -> None:
        """Triggered alone or by another batch; the item names that run, and no other is made."""
        alone = world.trigger(idempotency_key="k")
        batch = new_batch(world, 2)
        given = items(0, idempotency_key="k") + items(1, idempotency_key="other")
        assert add(world, batch, given).is_sealed
        first, second = runs_of(batch)
        assert (first, count_runs()) == (alone, 2)
        again = new_batch(world, 1)
        add(world, again, items(0, idempotency_key="other"))
        assert runs_of(again) == [second]

    def test_items_with_one_key_are_one_run(self, world: World) -> None:
        """Within one piece too; the first of them makes it."""
        batch = new_batch(world, 3)
        given = items(0, 1, idempotency_key="k") + items(2)
        assert add(world, batch, given).accepted == 3
        first, second, third = runs_of(batch)
        assert first == second != third
        assert count_runs() == 2
        check_books()

    def test_a_key_is_of_its_task(self, world: World) -> None:
        """The same key for two tasks makes two runs."""
        batch = new_batch(world, 2)
        key = {"idempotency_key": "k"}
        add(world, batch, items(0, **key) + items(1, slug="other", **key))
        assert len(set(runs_of(batch))) == 2

    def test_a_key_whose_time_is_over_is_free(self, world: World) -> None:
        """As in a single trigger: the item makes a run of its own and takes the key."""
        old = world.trigger(idempotency_key="k")
        change("UPDATE runs_idempotencykey SET expires_at = now() - interval '1 second'")
        batch = new_batch(world, 1)
        add(world, batch, items(0, idempotency_key="k"))
        (fresh,) = runs_of(batch)
        assert fresh != old
        assert world.trigger(idempotency_key="k") == fresh

    def test_keys_without_duration_never_stand_in_the_way(self, world: World) -> None:
        """However many items of a piece have the same."""
        batch = new_batch(world, 5)
        add(world, batch, items(*range(5), idempotency_key="k", idempotency_key_ttl_s=0))
        assert len(set(runs_of(batch))) == 5

    def test_one_key_in_many_batches_at_one_moment_is_one_run(self, world: World) -> None:
        """Everybody gets it, in whatever order their keys come."""
        batches = [new_batch(world, 10) for _ in range(RACERS)]

        def act(number: int) -> Added:
            order = range(10) if number % 2 else range(9, -1, -1)
            given = [
                BatchItem(place, TriggerCall(task="hello", idempotency_key=f"k{key}"))
                for place, key in enumerate(order)
            ]
            return add(world, batches[number], given)

        assert all(one.is_sealed for one in race(RACERS, act))
        assert count_runs() == 10
        assert len({frozenset(runs_of(batch)) for batch in batches}) == 1
        check_books()

    def test_old_keys_of_batches_are_forgotten(self, world: World) -> None:
        """After a day the key makes a new batch, whether it was forgotten or not."""
        first = new_batch(world, 1, idempotency_key="k")
        change("UPDATE runs_batchkey SET created_at = now() - interval '25 hours'")
        second = new_batch(world, 1, idempotency_key="k")
        assert first.id != second.id
        change("UPDATE runs_batchkey SET created_at = now() - interval '25 hours'")
        assert (forget_old_keys(), rows_of("SELECT * FROM runs_batchkey")) == (1, [])

    def test_one_key_announced_at_one_moment_is_one_batch(self, world: World) -> None:
        """All callers get it."""
        made = race(RACERS, lambda n: new_batch(world, 2, idempotency_key="k", request_key=str(n)))
        assert len({batch.id for batch in made}) == 1
        assert rows_of("SELECT count(*) FROM runs_batch") == [(1,)]


class TestPlaces:
    """Where items wait."""

    def test_unknown_tasks_wait_for_a_version(self, world: World) -> None:
        """They are released when one has the task, as any other run."""
        batch = new_batch(world, 2)
        add(world, batch, items(0, slug="later") + items(1))
        later, ready = runs_of(batch)
        assert later is not None
        assert ready is not None
        assert states_of(later) == ("RUN_CREATED", "PENDING_VERSION")
        assert states_of(ready) == ("QUEUED", "PENDING")
        check_books()
        make_version(world.tenant, task(), task("later"))
        assert release_waiting_versions() == 1
        assert states_of(later) == ("QUEUED", "PENDING")
        check_books()

    def test_delayed_items_wait_for_their_time(self, world: World) -> None:
        """Beside others that are ready at once."""
        batch = new_batch(world, 2)
        due = datetime.now(UTC) + timedelta(hours=1)
        add(world, batch, items(0, delay_until=due) + items(1))
        delayed, ready = runs_of(batch)
        assert delayed is not None
        assert world.lease_one().run.friendlyId == ready
        make_due(delayed)
        assert release_due_runs() == 1
        assert world.lease_one().run.friendlyId == delayed
        check_books()

    def test_items_queue_in_their_order(self, world: World) -> None:
        """Whatever order they arrive in, from when the batch was announced."""
        batch = new_batch(world, 4)
        add(world, batch, items(3, 1))
        behind = world.trigger()
        change("UPDATE runs_taskrun SET score = score WHERE id = %s", behind)
        add(world, batch, items(2, 0))
        order = [world.lease_one().run.friendlyId for _ in range(4)]
        assert order == runs_of(batch)
        assert world.lease_one().run.friendlyId == behind

    def test_what_a_batch_makes_is_seen_by_who_waits(self, world: World) -> None:
        """Nothing is announced before it can be taken, and everything can be taken after."""
        batch = new_batch(world, 3)
        add(world, batch, items(0, 1, 2))
        assert len(world.lease(count=3)) == 3
        assert connection.get_autocommit()
        run = run_of(runs_of(batch)[0] or "")
        assert (run.batch_id, run.trigger_function) == (batch.id, "trigger")
