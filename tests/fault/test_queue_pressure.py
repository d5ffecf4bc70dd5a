"""The queue with everybody at it at once: limits hold at every moment, and turns are taken."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from typing import TYPE_CHECKING, Any, Unpack

import pytest
from django.db import connection, transaction

from deployments.deployment_views import EnvironmentScope
from deployments.queue_selectors import QueueRef
from deployments.queues import (
    LimitOverride,
    override_queue_limit,
    reset_queue_limit,
    set_queue_paused,
)
from tenants.services import EnvironmentChanges, update_environment
from tests.backlogs import pile_up
from tests.factories import ORIGIN, make_tenant
from tests.running import (
    World,
    change,
    check_books,
    make_version,
    make_world,
    race,
    rows_of,
    run_of,
    task,
)
from tests.servers import wait_until
from tests.sizes import sized

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

SUPERVISORS = 8
RUNS = sized(160, full=2_000)
BACKLOG = 100_000
QUEUE = QueueRef("custom", "q")

# Whoever leases holds the environment's mutex, so what this sees is what holds at that moment.
WATCH = """
CREATE TABLE passed_limit (what text);
CREATE FUNCTION watch_limits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO passed_limit
  SELECT 'environment ' || e.concurrency_limit || ' ' || e.paused FROM tenants_environment e
  WHERE e.id = NEW.environment_id AND (e.paused OR e.concurrency_limit <
    (SELECT count(*) FROM runs_lease l WHERE l.environment_id = e.id))
  UNION ALL
  SELECT 'queue ' || q.concurrency_limit || ' ' || q.paused FROM deployments_taskqueue q
  WHERE q.environment_id = NEW.environment_id AND q.name = NEW.queue_name
    AND (q.paused OR q.concurrency_limit <
      (SELECT count(*) FROM runs_lease l WHERE l.environment_id = q.environment_id
       AND l.queue_name = q.name AND l.concurrency_key = NEW.concurrency_key));
  RETURN NULL;
END $$;
CREATE TRIGGER watch_limits AFTER INSERT ON runs_lease
  FOR EACH ROW EXECUTE FUNCTION watch_limits();
"""
UNWATCH = """
DROP TRIGGER watch_limits ON runs_lease;
DROP FUNCTION watch_limits();
DROP TABLE passed_limit;
"""


@pytest.fixture
def watched(transactional_db: None) -> Generator[None, None, None]:
    """Let the database itself note each lease that passes a limit or a pause."""
    change(WATCH)
    yield
    change(UNWATCH)


def limit_environment(world: World, **changes: Unpack[EnvironmentChanges]) -> None:
    """Change what an environment may run."""
    update_environment(world.environment_id, changes, **ORIGIN)


def of_queue(world: World) -> dict[str, Any]:
    """Give what every change of the queue says: where, which, who and when."""
    scope = EnvironmentScope(
        environment_id=world.environment_id,
        project_id=world.tenant.project.id,
        project_ref=world.tenant.project.ref,
        organization_id=world.tenant.organization.id,
    )
    return {"scope": scope, "ref": QUEUE, "now": datetime.now(UTC), **ORIGIN}


def changes_of(world: World) -> list[Callable[[], object]]:
    """Give what is changed while runs are taken; the last ones open everything."""

    def pause(*, paused: bool) -> object:
        return set_queue_paused(paused=paused, **of_queue(world))

    def override(**given: Any) -> object:
        return override_queue_limit(override=LimitOverride(**given), **of_queue(world))

    return [
        lambda: override(limit=1),
        lambda: limit_environment(world, concurrency_limit=3),
        lambda: pause(paused=True),
        lambda: override(percent=70),
        lambda: pause(paused=False),
        lambda: limit_environment(world, paused=True),
        lambda: override(limit=0),
        lambda: limit_environment(world, concurrency_limit=9, paused=False),
        lambda: override(limit=4),
        lambda: reset_queue_limit(**of_queue(world)),
    ]


class TestExactLimits:
    """Never one run more than is allowed, at any moment."""

    @pytest.mark.fault(
        kills="nothing: limits and pauses change while eight take runs",
        step="queued to leased",
        expects="never one run more than is allowed, and none is left behind",
    )
    def test_no_lease_passes_a_limit_or_a_pause(self, watched: None) -> None:
        """Eight take and finish runs of two tenants while limits and pauses change all the time."""
        world = make_world(task("hello", queue_name="q", queue_concurrency_limit=2), task("free"))
        other = world.in_environment(make_tenant())
        make_version(other.tenant, task("hello", queue_name="q", queue_concurrency_limit=1))
        limit_environment(other, concurrency_limit=2)
        expected = {
            one.trigger(slug, concurrency_key=str(number % 3))
            for one, slug in ((world, "hello"), (world, "free"), (other, "hello"))
            for number in range(RUNS // 3)
        }
        taken: list[str] = []
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                for message in world.lease(count=2):
                    run_id = message.run.friendlyId
                    world.complete(run_id, world.start(run_id, message.snapshot.friendlyId))
                    taken.append(run_id)
                if len(taken) >= len(expected):
                    done.set()

        def disturb() -> None:
            for number, act in enumerate(cycle(changes_of(world))):
                act()
                if done.is_set() and number >= len(changes_of(world)):
                    return

        watchdog = threading.Timer(sized(60, full=600), done.set)
        watchdog.start()
        race(SUPERVISORS + 1, lambda number: work() if number else disturb())
        watchdog.cancel()
        assert (len(taken), set(taken)) == (len(expected), expected)
        assert rows_of("SELECT what FROM passed_limit") == []
        check_books()

    @pytest.mark.parametrize(
        "lower",
        [
            lambda world: set_queue_paused(paused=True, **of_queue(world)),
            lambda world: override_queue_limit(override=LimitOverride(limit=0), **of_queue(world)),
            lambda world: limit_environment(world, paused=True),
            lambda world: limit_environment(world, concurrency_limit=0),
        ],
        ids=["queue-pause", "queue-limit", "environment-pause", "environment-limit"],
    )
    def test_a_limit_waits_for_who_is_choosing(self, lower: Callable[[World], object]) -> None:
        """Once a pause or a lower limit is answered, nothing follows that was chosen before it."""
        world = make_world(task("hello", queue_name="q", queue_concurrency_limit=5))
        for _ in range(2):
            world.trigger()
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                assert len(world.lease()) == 1
                lowering = pool.submit(in_own_connection, lambda: lower(world))
                wait_until(waits_for_me, what="nobody waits for the dequeue")
                assert not lowering.done()
            lowering.result(10)
        assert world.lease() == []
        check_books()


def in_own_connection(act: Callable[[], object]) -> None:
    """Act in this thread and give its connection back."""
    try:
        act()
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


def takes_until(world: World, run_ids: set[str]) -> int:
    """Give how many dequeues it takes until all of these runs have been taken."""
    left, count = set(run_ids), 0
    while left:
        left.discard(world.lease_one().run.friendlyId)
        count += 1
    return count


class TestTurns:
    """Measured in dequeues, not in time: a hundred thousand waiting runs keep nobody waiting."""

    def test_a_backlog_costs_others_one_turn(self) -> None:
        """The first run of another tenant, of ten tenants, of another queue and of another key."""
        world = make_world()
        tenants = [world.in_environment(make_tenant()) for _ in range(10)]
        for one in tenants:
            make_version(one.tenant, task("hello"))
        pile_up(world, BACKLOG)
        for one in tenants[:5]:
            assert takes_until(world, {one.trigger()}) <= 2
        assert takes_until(world, {one.trigger() for one in tenants}) <= len(tenants) + 1
        assert takes_until(world, {world.trigger(queue="another")}) <= 2
        assert takes_until(world, {world.trigger(concurrency_key="another")}) <= 2
        later = [tenants[0].trigger() for _ in range(5)]
        assert takes_until(world, set(later)) <= 2 * len(later)

    def test_an_environment_that_was_just_emptied_hides_nobody(self) -> None:
        """Who waits for the first of two that are being served looks at the other one as well."""
        small = make_world()
        busy = small.in_environment(make_tenant())
        make_version(busy.tenant, task("hello"))
        small.trigger()
        runs = [busy.trigger() for _ in range(2)]
        taken: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                assert len(small.lease(count=2)) == 2
                third = pool.submit(
                    in_own_connection,
                    lambda: taken.append(small.lease_one().run.friendlyId),
                )
                wait_until(waits_for_me, what="nobody waits for an environment")
            third.result(10)
        assert taken == runs[1:]
        check_books()

    @pytest.mark.fault(
        kills="nothing: a tenant has a backlog, eight take runs",
        step="queued",
        expects="another tenant's first run waits for one turn at most",
    )
    def test_a_backlog_under_eight_dequeuers_costs_one_turn(self) -> None:
        """Beside those who were choosing when the run came, only one more goes before it."""
        world = make_world()
        small = world.in_environment(make_tenant())
        make_version(small.tenant, task("hello"))
        pile_up(world, BACKLOG)
        for _ in range(5):
            assert taken_before(world, small) <= SUPERVISORS + 1


def taken_before(busy: World, small: World) -> int:
    """Let eight take runs, trigger one of a small tenant, and count who was taken in between."""
    under_way, found = threading.Semaphore(0), threading.Event()
    triggered: list[Any] = []

    def work(number: int) -> None:
        if number == 0:
            for _ in range(2 * SUPERVISORS):
                assert under_way.acquire(timeout=20)
            run_id = small.trigger()
            ((moment,),) = rows_of("SELECT clock_timestamp()")
            triggered.extend((run_id, moment))
            wait_until(lambda: run_of(run_id).status == "DEQUEUED", what="the small tenant's run")
            found.set()
            return
        for _ in range(200):
            if found.is_set():
                return
            busy.lease_one()
            under_way.release()

    race(SUPERVISORS + 1, work)
    run_id, moment = triggered
    ((count,),) = rows_of(
        "SELECT count(*) FROM runs_runsnapshot s WHERE s.event = 'dequeue' AND s.run_id <> %s"
        " AND s.created_at > %s AND s.created_at <"
        " (SELECT created_at FROM runs_runsnapshot WHERE run_id = %s AND event = 'dequeue')",
        run_id,
        moment,
        run_id,
    )
    return int(count)


class TestPriorities:
    """Within a lane the lowest score goes first."""

    def test_a_priority_is_so_many_seconds_of_age(self) -> None:
        """Ten beats what is up to ten seconds older, and nothing that is older than that."""
        world = make_world()
        older = [world.trigger() for _ in range(3)]
        for run_id, age_ms in zip(older, (11_000, 9_000, 1_000), strict=True):
            change(
                "UPDATE runs_readyentry SET score = score - %s WHERE run_id = %s", age_ms, run_id
            )
            change("UPDATE runs_taskrun SET score = score - %s WHERE id = %s", age_ms, run_id)
        urgent = world.trigger(priority_ms=10_000)
        taken = [world.lease_one().run.friendlyId for _ in range(4)]
        assert taken == [older[0], urgent, *older[1:]]

    def test_eight_dequeuers_take_a_lane_in_order(self) -> None:
        """Each lease is of the most urgent run that waits, whoever takes it."""
        world = make_world()
        runs = {world.trigger(priority_ms=1000 * (number % 7)) for number in range(40)}
        race(SUPERVISORS, lambda _: [world.lease_one() for _ in range(5)])
        taken = rows_of(
            "SELECT r.id FROM runs_runsnapshot s JOIN runs_taskrun r ON r.id = s.run_id"
            " WHERE s.event = 'dequeue' ORDER BY s.created_at"
        )
        in_order = rows_of("SELECT id FROM runs_taskrun ORDER BY score, id")
        assert {run_id for (run_id,) in taken} == runs
        assert taken == in_order
