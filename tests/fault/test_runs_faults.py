"""Connections killed in the middle, and everybody at once: nothing half-written, nothing lost."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connection, transaction

from ledger.connections import release_connections
from runs.errors import StaleSnapshot
from runs.reconcilers import RECONCILERS, repair_stalled_runs
from runs.services.cancellation import cancel_run
from runs.services.presence import note_presence
from runs.states import IllegalMove
from tenants.errors import Conflict
from tests.running import (
    World,
    change,
    check_books,
    executing,
    failed,
    leased,
    make_world,
    race,
    read_books,
    rows_of,
    run_of,
    stall,
    states_of,
)
from tests.servers import wait_until
from tests.sizes import sized

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

STORM_TRIGGERS = sized(60, full=600)  # of each of four threads
WHIRL_STEPS = sized(40, full=400)  # of each of six threads


def in_thread(pool: ThreadPoolExecutor, act: Callable[[], Any]) -> Future[Any]:
    """Act with a connection of its own."""

    def _run() -> Any:
        try:
            return act()
        finally:
            connection.close()

    return pool.submit(_run)


def waiting_backends() -> list[int]:
    """Give the connections of this database that wait for a lock."""
    found = rows_of(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in found]


def killed_while_it_waits(act: Callable[[], Any], obstacle: str, *values: Any) -> None:
    """Let `act` wait for a lock that `obstacle` takes, kill its connection there, and clear up."""
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            rows_of(obstacle, *values)
            acting = in_thread(pool, act)
            wait_until(lambda: bool(waiting_backends()), what="nobody waits for the lock")
            (pid,) = waiting_backends()
            rows_of("SELECT pg_terminate_backend(%s)", pid)
            error = acting.exception(10)
        assert isinstance(error, OperationalError), error


def everything() -> list[Any]:
    """Give all rows that a move writes, to compare."""
    return [
        sorted(rows_of(f"SELECT t::text FROM {table} t"))
        for table in (
            "runs_taskrun",
            "runs_runsnapshot",
            "runs_readyentry",
            "runs_delayedentry",
            "runs_lease",
            "runs_queueslots",
            "runs_environmentslots",
            "runs_idempotencykey",
            "runs_requestkey",
        )
    ]


class TestKilled:
    """A connection dies inside a transaction."""

    @pytest.mark.fault(
        kills="web or PostgreSQL",
        step="inside the dequeue",
        expects="nothing was handed out, the next dequeue gives it",
    )
    def test_a_killed_dequeue_has_given_nothing(self) -> None:
        """The run waits as before, and the next dequeue gives it."""
        world = make_world()
        run_id = world.trigger()
        before = everything()
        killed_while_it_waits(
            world.lease, "SELECT 1 FROM runs_taskrun WHERE id = %s FOR UPDATE", run_id
        )
        assert everything() == before
        assert world.lease_one().run.friendlyId == run_id
        check_books()

    @pytest.mark.fault(
        kills="web or PostgreSQL",
        step="inside the completion",
        expects="the attempt goes on, the repeat ends it",
    )
    def test_a_killed_completion_has_ended_nothing(self) -> None:
        """The attempt runs on with its slot, and completing it again ends it."""
        world = make_world()
        run_id, snapshot = executing(world)
        before = everything()
        killed_while_it_waits(
            lambda: world.complete(run_id, snapshot),
            "SELECT 1 FROM runs_lease WHERE run_id = %s FOR UPDATE",
            run_id,
        )
        assert everything() == before
        world.complete(run_id, snapshot)
        assert states_of(run_id) == ("FINISHED", "COMPLETED_SUCCESSFULLY")
        check_books()

    @pytest.mark.fault(
        kills="web or PostgreSQL",
        step="inside a retry through the queue",
        expects="the run is still leased, the repeat queues it",
    )
    def test_a_killed_retry_is_neither_here_nor_there(self) -> None:
        """The run has not left its lease and not come into the queue."""
        world = make_world()
        run_id, snapshot = executing(world)
        before = everything()
        ended = failed(run_id, delay_ms=60_000)
        killed_while_it_waits(
            lambda: world.complete(run_id, snapshot, ended),
            "SELECT 1 FROM runs_queueslots FOR UPDATE",
        )
        assert everything() == before
        world.complete(run_id, snapshot, ended)
        assert read_books().places[run_id] == ["delayed"]
        check_books()

    @pytest.mark.fault(
        kills="web or PostgreSQL",
        step="inside the start",
        expects="the lease is as it was, the same runner starts it",
    )
    def test_a_killed_start_has_started_nothing(self) -> None:
        """The lease is as it was, and the same runner starts it."""
        world = make_world()
        run_id, snapshot = leased(world)
        before = everything()
        killed_while_it_waits(
            lambda: world.start(run_id, snapshot),
            "SELECT 1 FROM runs_lease WHERE run_id = %s FOR UPDATE",
            run_id,
        )
        assert everything() == before
        world.start(run_id, snapshot)
        assert run_of(run_id).attempt_number == 1

    @pytest.mark.fault(
        kills="web or PostgreSQL",
        step="inside the trigger",
        expects="no run and no key; the repeat makes one run",
    )
    def test_a_killed_trigger_has_written_nothing(self) -> None:
        """Neither run nor keys: the repeat makes the run, as the first of its key."""
        world = make_world()
        world.trigger()
        before = everything()
        keys = {"idempotency_key": "k", "request_key": "r"}
        killed_while_it_waits(
            lambda: world.trigger(**keys),
            "SELECT pg_advisory_xact_lock(hashtextextended(id::text, 0)) FROM runs_lane",
        )
        assert everything() == before
        assert world.trigger(**keys) == world.trigger(**keys)
        assert rows_of("SELECT count(*) FROM runs_taskrun") == [(2,)]
        check_books()


class TestStorms:
    """Everybody at once."""

    @pytest.mark.fault(
        kills="nothing: triggers and dequeues close a lane at one moment",
        step="queued",
        expects="no entry is left behind",
    )
    def test_no_entry_is_left_in_a_closed_lane(self) -> None:
        """Four trigger into one lane while four empty and close it, again and again."""
        world = make_world()
        total = 4 * STORM_TRIGGERS
        taken: list[str] = []
        done = threading.Event()

        def _act(number: int) -> None:
            if number < 4:
                for _ in range(STORM_TRIGGERS):
                    world.trigger()
                return
            while not done.is_set():
                for message in world.lease():
                    run_id = message.run.friendlyId
                    world.complete(run_id, world.start(run_id, message.snapshot.friendlyId))
                    taken.append(run_id)
                if len(taken) >= total:
                    done.set()

        watchdog = threading.Timer(sized(60, full=600), done.set)
        watchdog.start()
        race(8, _act)
        watchdog.cancel()
        assert (len(taken), len(set(taken))) == (total, total)
        check_books()
        assert world.lease() == []
        assert rows_of("SELECT count(*) FROM runs_lane") == [(0,)]

    @pytest.mark.fault(
        kills="nothing: a runner and a reconciler at one moment",
        step="leased",
        expects="one of them wins, the books are exact",
    )
    def test_starting_and_repairing_never_wait_for_each_other(self) -> None:
        """A runner starts what a reconciler takes back at that moment: one of them wins."""
        world = make_world()
        runs = [leased(world) for _ in range(20)]
        for run_id, _ in runs:
            stall(run_id)
        started: list[str] = []

        def _act(number: int) -> None:
            if number == 0:
                repair_stalled_runs()
                return
            for run_id, snapshot in runs:
                try:
                    world.start(run_id, snapshot, runner=f"runner-{number}")
                    started.append(run_id)
                except StaleSnapshot:
                    continue

        race(3, _act)
        assert len(started) == len(set(started))
        for run_id, _ in runs:
            assert (states_of(run_id)[0] == "EXECUTING") == (run_id in started)
        check_books()

    @pytest.mark.fault(
        kills="nothing: six sides act at random",
        step="any",
        expects="each run is in one place, every counter is exact",
    )
    def test_whatever_happens_at_once_the_books_are_right(self) -> None:
        """Triggers, leases, starts, ends, cancels, pauses and repairs in any order from six sides."""
        world = make_world()

        def _act(number: int) -> None:
            chance = random.Random(number)
            for _ in range(WHIRL_STEPS):
                try:
                    _do_something(world, chance)
                except (Conflict, IllegalMove):
                    continue  # somebody else was first, which is what this is about

        race(6, _act)
        check_books()
        for name in RECONCILERS:
            RECONCILERS[name]()
        check_books()


def _do_something(world: World, chance: random.Random) -> None:
    act = chance.choice(["trigger", "trigger", "work", "work", "work", "cancel", "pause", "stall"])
    if act == "trigger":
        world.trigger(concurrency_key=chance.choice(["", "k"]), queue=chance.choice(["a", "b"]))
    elif act == "work":
        _work(world, chance)
    elif act == "cancel":
        for (run_id,) in rows_of("SELECT id FROM runs_taskrun ORDER BY random() LIMIT 1"):
            cancel_run(environment_id=world.environment_id, run_id=run_id)
    elif act == "pause":
        limit = chance.choice([1, 2, 100])
        change("UPDATE tenants_environment SET concurrency_limit = %s", limit)
    else:
        change(
            "UPDATE runs_lease SET due_at = now() - interval '1 second' WHERE run_id IN"
            " (SELECT run_id FROM runs_lease ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)"
        )
        note_presence()
        repair_stalled_runs()
    release_connections()


def _work(world: World, chance: random.Random) -> None:
    for message in world.lease():
        run_id = message.run.friendlyId
        snapshot = world.start(run_id, message.snapshot.friendlyId)
        end = chance.choice([None, failed(run_id), failed(run_id, delay_ms=60_000)])
        world.complete(run_id, snapshot, end, force_queue=chance.random() < 0.5)
