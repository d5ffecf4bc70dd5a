"""Moving what waits while everybody else goes on: none is lost, none is executed twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from django.db import DatabaseError, connection, transaction

from flags.services import set_organization_flags
from ledger.selectors import current_revision, list_audit
from rollout.moving import MoveOutcome, MoveWish, move_queued
from runs.bookkeeping import compare_books
from runs.services.moving import PIECE
from runs.services.wakeups import board
from tenants.services import update_environment
from tests.backlogs import pile_up
from tests.factories import ORIGIN, make_tenant
from tests.migrating import Migrating, make_migrating
from tests.running import (
    REGION,
    World,
    change,
    check_books,
    make_version,
    race,
    rows_of,
    task,
)
from tests.servers import wait_until
from tests.sizes import sized

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

SUPERVISORS = 8
MOVERS = 2
TRIGGERS = 2
RUNS = sized(120, full=4_000)
MOVED = "SELECT worker_queue, count(*) FROM runs_taskrun GROUP BY 1"

FAIL = """
CREATE TABLE fails_on (run_id text);
CREATE FUNCTION fail_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM fails_on WHERE run_id = NEW.id) THEN
    RAISE EXCEPTION 'the disk is full' USING ERRCODE = 'disk_full';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER fail_on BEFORE UPDATE ON runs_taskrun FOR EACH ROW EXECUTE FUNCTION fail_on();
"""
HEAL = """
DROP TRIGGER fail_on ON runs_taskrun;
DROP FUNCTION fail_on();
DROP TABLE fails_on;
"""


@pytest.fixture
def failing(transactional_db: None) -> Generator[None, None, None]:
    """Let the database fail at the runs that are named in `fails_on`."""
    change(FAIL)
    yield
    change(HEAL)


@pytest.fixture
def migrating(transactional_db: None) -> Migrating:
    """Give an organization whose runs go to a live backing."""
    made = make_migrating()
    made.override(value=True)
    return made


def move(to: str) -> MoveOutcome:
    """Move what waits in the region."""
    return move_queued(MoveWish(REGION, to), **ORIGIN)


@dataclass
class Storm:
    """Everybody at once: who triggers, who moves, who takes runs and finishes them."""

    worlds: tuple[World, World]  # two organizations, whose runs the containers take
    queues: tuple[World, World]  # the containers, and the backing
    beat: Callable[[], None]  # keeps the backing alive, however long all this takes
    made: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def act(self, number: int) -> None:
        """Be one of them, by number."""
        if number < TRIGGERS:
            self._trigger(self.worlds[number])
        elif number < TRIGGERS + MOVERS:
            self._move(("CONTAINER", "MICROVM")[number - TRIGGERS])
        else:
            self._work(self.queues[number % 2])

    def _trigger(self, world: World) -> None:
        for count in range(RUNS // TRIGGERS):
            run_id = world.trigger(concurrency_key=str(count % 3), priority_ms=count % 5)
            self.made += [run_id]

    def _move(self, to: str) -> None:
        while not self.done.is_set():
            self.beat()
            self.moved += [move(to).moved]

    def _work(self, world: World) -> None:
        while not self.done.is_set():
            for message in world.lease(count=2):
                run_id = message.run.friendlyId
                world.complete(run_id, world.start(run_id, message.snapshot.friendlyId))
                self.taken += [run_id]
            if len(self.taken) >= RUNS:
                self.done.set()


def test_nothing_is_lost_among_dequeuers_triggers_and_opposite_moves(migrating: Migrating) -> None:
    """Eight take and finish runs of both queues while two move them there and back and two trigger."""
    other = migrating.world.in_environment(make_tenant())
    make_version(other.tenant, task())
    set_organization_flags(
        other.tenant.organization.id, {"computeMigrationEnabled": True}, **ORIGIN
    )
    storm = Storm((migrating.world, other), (migrating.world, migrating.as_backing), migrating.beat)
    watchdog = threading.Timer(sized(60, full=600), storm.done.set)
    watchdog.start()
    race(TRIGGERS + MOVERS + SUPERVISORS, storm.act)
    watchdog.cancel()
    assert (len(storm.taken), sorted(storm.taken)) == (RUNS, sorted(storm.made))
    assert sum(storm.moved) > 0
    dequeued = "SELECT run_id FROM runs_runsnapshot WHERE event = 'dequeue' GROUP BY 1"
    assert rows_of(f"{dequeued} HAVING count(*) > 1") == []
    check_books()
    assert compare_books().found == 0


def test_many_go_in_pieces_and_keep_their_order(migrating: Migrating) -> None:
    """Every run goes, in the same order, and the counts of both sides agree."""
    count = 3 * PIECE - 1
    pile_up(migrating.as_backing, count)
    order = "SELECT e.run_id FROM runs_readyentry e ORDER BY e.score, e.run_id"
    before = rows_of(order)
    done = move("CONTAINER")
    assert (done.preview.count, done.moved) == (count, count)
    assert rows_of(MOVED) == [(migrating.world.queue, count)]
    assert rows_of(order) == before
    assert compare_books().found == 0


def test_a_move_that_fails_at_once_did_nothing(migrating: Migrating, failing: None) -> None:
    """Neither a run nor the audit row of a first piece that failed stays."""
    runs = [migrating.trigger() for _ in range(3)]
    change("INSERT INTO fails_on VALUES (%s)", runs[1].id)
    before = current_revision()
    with pytest.raises(DatabaseError):
        move("CONTAINER")
    assert rows_of(MOVED) == [(migrating.backing_queue, 3)]
    assert current_revision() == before
    assert {row.key for row in list_audit().rows} & {"move-queued"} == set()
    check_books()


def test_a_move_that_is_cut_short_is_finished_by_its_repeat(
    migrating: Migrating, failing: None
) -> None:
    """What was moved has its audit row, what was not still waits, and the repeat takes the rest."""
    pile_up(migrating.as_backing, 2 * PIECE)
    ((last,),) = rows_of("SELECT max(run_id) FROM runs_readyentry WHERE run_id LIKE 'run_000%%'")
    change("INSERT INTO fails_on VALUES (%s)", last)
    with pytest.raises(DatabaseError):
        move("CONTAINER")
    assert sorted(count for _, count in rows_of(MOVED)) == [PIECE, PIECE]
    (row,) = [row for row in list_audit().rows if row.key == "move-queued"]
    assert row.new["count"] == 2 * PIECE
    assert compare_books().found == 0
    change("DELETE FROM fails_on")
    assert move("CONTAINER").moved == PIECE
    assert rows_of(MOVED) == [(migrating.world.queue, 2 * PIECE)]


def test_a_move_waits_for_who_is_choosing(migrating: Migrating) -> None:
    """A run that is being handed out is not moved, and no run of its environment is passed over."""
    first, second = migrating.trigger(), migrating.trigger()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert migrating.as_backing.lease_one().run.friendlyId == first.id
            moving = pool.submit(in_own_connection)
            wait_until(waits_for_me, what="the move waits for the dequeue")
            assert not moving.done()
        done = moving.result(10)
    assert (done.preview.count, done.moved) == (2, 1)
    assert migrating.world.lease_one().run.friendlyId == second.id
    check_books()


def test_who_waits_for_the_target_queue_is_woken(migrating: Migrating) -> None:
    """A supervisor of the containers that waits hears of the runs at once, the backing's does not."""
    migrating.trigger()
    queues = migrating.world.queue, migrating.backing_queue
    seen = [board.mark(queue) for queue in queues]
    move("CONTAINER")
    woken = [board.mark(queue) != mark for queue, mark in zip(queues, seen, strict=True)]
    assert woken == [True, False]


def test_a_move_and_a_changed_limit_do_not_wait_for_each_other(migrating: Migrating) -> None:
    """Both take the ledger first and the environment after it, so they end, in either order."""
    for _ in range(20):
        migrating.trigger()

    def act(number: int) -> None:
        for turn in range(10):
            if number < MOVERS:
                move(("CONTAINER", "MICROVM")[(number + turn) % 2])
            else:
                limit(migrating.world, 5 + turn % 2)

    race(MOVERS + 2, act)
    check_books()


def limit(world: World, count: int) -> None:
    """Change how much an environment may run."""
    update_environment(world.environment_id, {"concurrency_limit": count}, **ORIGIN)


def in_own_connection() -> MoveOutcome:
    """Move in this thread and give its connection back."""
    try:
        return move("CONTAINER")
    finally:
        connection.close()


def waits_for_me() -> bool:
    """Say whether somebody waits for a lock of this transaction."""
    return bool(
        rows_of(
            "SELECT 1 FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
    )
