"""Who is given which run: limits, pauses, turns, repeats, and waiting for one."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from pytest_django import Settings

from deployments.manifest import QueueManifest
from ledger.connections import release_connections
from ledger.feed import feed
from runs.services.leases import Room
from runs.services.wakeups import CHANNEL_PREFIX, board, hear_ready
from tenants.services import EnvironmentChanges, update_environment
from tests.api_client import json_of
from tests.factories import ORIGIN, make_tenant
from tests.running import (
    Supervisor,
    World,
    change,
    check_books,
    make_version,
    make_world,
    race,
    rows_of,
    task,
)
from tests.servers import wait_until
from webapp.api.worker import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.servers import Servers

pytestmark = pytest.mark.django_db

SUPERVISORS = 8
RUNS = 200


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def limit(
    world: World, *, concurrency_limit: int | None = None, paused: bool | None = None
) -> None:
    """Change what an environment may run."""
    changes = EnvironmentChanges()
    if concurrency_limit is not None:
        changes["concurrency_limit"] = concurrency_limit
    if paused is not None:
        changes["paused"] = paused
    update_environment(world.environment_id, changes, **ORIGIN)


def take_all(world: World, **given: Any) -> list[str]:
    """Take runs until there is none, and give their ids in that order."""
    taken: list[str] = []
    while messages := world.lease(**given):
        taken += [message.run.friendlyId for message in messages]
    return taken


def finish(world: World, run_id: str) -> None:
    """Start and complete a leased run."""
    ((snapshot,),) = rows_of("SELECT snapshot_id FROM runs_taskrun WHERE id = %s", run_id)
    world.complete(run_id, world.start(run_id, snapshot))


class TestLimits:
    """Slots of the environment, of a queue and of its keys."""

    def test_an_environment_runs_as_many_as_it_may(self, world: World) -> None:
        """Then nothing more is given until one ends, and then one."""
        limit(world, concurrency_limit=2)
        runs = [world.trigger() for _ in range(4)]
        assert take_all(world) == runs[:2]
        check_books()
        finish(world, runs[0])
        assert take_all(world) == [runs[2]]
        check_books()

    def test_a_queue_runs_as_many_as_it_may_for_each_key(self) -> None:
        """The limit holds for each concurrency key by itself."""
        world = make_world(task("hello", queue_name="q", queue_concurrency_limit=1))
        runs = [world.trigger(concurrency_key=key) for key in "aabbc"]
        assert sorted(take_all(world)) == sorted([runs[0], runs[2], runs[4]])
        finish(world, runs[2])
        assert take_all(world) == [runs[3]]
        check_books()

    def test_a_paused_environment_is_given_nothing_until_it_goes_on(self, world: World) -> None:
        """Going on needs no other event: what waited is given at once."""
        run_id = world.trigger()
        limit(world, paused=True)
        assert take_all(world) == []
        limit(world, paused=False)
        assert take_all(world) == [run_id]

    def test_a_raised_limit_opens_at_once(self, world: World) -> None:
        """An environment without slots that gets one is served; lowering it takes nothing back."""
        limit(world, concurrency_limit=0)
        runs = [world.trigger() for _ in range(3)]
        assert take_all(world) == []
        limit(world, concurrency_limit=2)
        assert take_all(world) == runs[:2]
        limit(world, concurrency_limit=1)
        finish(world, runs[0])
        assert take_all(world) == []
        limit(world, concurrency_limit=2)
        assert take_all(world) == runs[2:]
        check_books()

    def test_a_queues_lifted_limit_opens_at_once(self) -> None:
        """A version with another limit, or with none, and an end of a pause let runs go."""
        queue = QueueManifest(name="q", concurrency_limit=1)
        world = make_world(queues=(queue,))
        runs = [world.trigger(queue="q") for _ in range(5)]
        assert take_all(world) == runs[:1]
        for new_limit, taken in ((2, runs[1:2]), (None, runs[2:])):
            declared = QueueManifest(name="q", concurrency_limit=new_limit)
            make_version(world.tenant, queues=(declared,))
            assert take_all(world) == taken
        change("UPDATE deployments_taskqueue SET paused = true WHERE name = 'q'")
        paused = world.trigger(queue="q")
        assert take_all(world) == []
        change("UPDATE deployments_taskqueue SET paused = false WHERE name = 'q'")
        assert take_all(world) == [paused]
        check_books()

    @pytest.mark.django_db(transaction=True)
    def test_supervisors_never_share_a_run_nor_pass_a_limit(self, redis_url: str) -> None:
        """Eight with one token take two hundred runs: each run once, limits exact at every moment."""
        world = make_world(task("hello", queue_name="q", queue_concurrency_limit=5))
        other = world.in_environment(make_tenant())
        make_version(other.tenant, task("hello"))
        limit(world, concurrency_limit=7)
        limit(other, concurrency_limit=3)
        expected = {
            one.trigger(concurrency_key=str(number % 3))
            for one in (world, other)
            for number in range(RUNS // 2)
        }
        left, taken, over = threading.Semaphore(RUNS), list[str](), list[Any]()

        def _work(_number: int) -> None:
            while left.acquire(blocking=False):
                messages: list[Any] = []
                while not messages:
                    messages = world.lease()
                over.extend(_over_limits())
                taken.append(messages[0].run.friendlyId)
                finish(world, taken[-1])

        race(SUPERVISORS, _work)
        assert (len(taken), set(taken), over) == (RUNS, expected, [])
        check_books()
        assert rows_of("SELECT sum(running)::int FROM runs_environmentslots") == [(0,)]


def _over_limits() -> list[Any]:
    """Find environments and queues that hold more leases than they may."""
    return rows_of(
        """
        SELECT l.environment_id, count(*) FROM runs_lease l
        JOIN tenants_environment e ON e.id = l.environment_id
        GROUP BY 1, e.concurrency_limit HAVING count(*) > e.concurrency_limit
        UNION ALL
        SELECT l.queue_name || l.concurrency_key, count(*) FROM runs_lease l
        JOIN deployments_taskqueue q ON q.environment_id = l.environment_id AND q.name = l.queue_name
        GROUP BY 1, q.concurrency_limit HAVING count(*) > q.concurrency_limit
        """
    )


class TestOrder:
    """Which run is next."""

    def test_within_a_lane_the_lowest_score_is_next(self, world: World) -> None:
        """Older ones first, a priority counts as so much older."""
        first = world.trigger()
        second = world.trigger()
        urgent = world.trigger(priority_ms=60_000)
        assert take_all(world) == [urgent, first, second]

    def test_environments_and_lanes_take_turns(self, world: World) -> None:
        """A tenant with a long backlog, and a queue with one, do not keep the others waiting."""
        small = world.in_environment(make_tenant())
        make_version(small.tenant, task("hello"))
        backlog = [world.trigger(queue=queue) for queue in ("a", "a", "a", "b", "b", "b")]
        few = [small.trigger() for _ in range(2)]
        taken = take_all(world)
        assert [run_id in few for run_id in taken[:4]].count(True) == 2
        assert {taken.index(run_id) // 2 for run_id in few} == {0, 1}
        own = [run_id for run_id in taken if run_id in backlog]
        assert [backlog.index(run_id) // 3 for run_id in own] in ([0, 1] * 3, [1, 0] * 3)

    def test_a_run_too_large_is_left_for_others(self, world: World) -> None:
        """It keeps its lane waiting, not the other lanes and not the other environments."""
        large = world.trigger(queue="big", machine="large-2x")
        behind = world.trigger(queue="big", machine="micro")
        small = world.trigger(queue="other", machine="micro")
        assert take_all(world, room=Room(cpu=1, memory=1)) == [small]
        assert take_all(world, room=Room(cpu=0.1, memory=1)) == []
        assert take_all(world, room=Room(cpu=8, memory=16)) == [large, behind]

    def test_any_number_of_lanes_may_be_in_the_way(self, world: World) -> None:
        """Behind 150 lanes whose runs do not fit, the one that does is found in one look."""
        for number in range(150):
            world.trigger(concurrency_key=str(number), machine="large-2x")
        fits = world.trigger(machine="micro")
        assert take_all(world, room=Room(cpu=1, memory=1)) == [fits]

    def test_lanes_at_their_limit_are_not_in_the_way(self) -> None:
        """Behind 120 lanes of a queue without slots, another queue's run is found in one look."""
        world = make_world(
            task("hello", queue_name="shut", queue_concurrency_limit=0), task("free")
        )
        for number in range(120):
            world.trigger(concurrency_key=str(number))
        free = world.trigger("free")
        assert take_all(world) == [free]

    def test_many_runs_without_a_version_are_not_in_the_way(self, world: World) -> None:
        """Runs whose task has gone are put aside until one is found that can go."""
        for _ in range(120):
            world.trigger()
        make_version(world.tenant, task("new"))
        kept = world.trigger("new")
        assert take_all(world) == [kept]
        check_books()


class TestRepeats:
    """An answer lost on the wire."""

    def test_the_same_request_is_given_the_same_run(self, world: World) -> None:
        """A repeat gets it until it is started, another request gets another run."""
        first, second = world.trigger(), world.trigger()
        key = {"x-trigger-request-idempotency-key": "a"}
        (message,) = json_of(Supervisor(world).act("dequeue", **key))
        (again,) = json_of(Supervisor(world).act("dequeue", **key))
        assert message.pop("dequeuedAt") <= again.pop("dequeuedAt")
        assert (message, message["run"]["friendlyId"]) == (again, first)
        assert [m.run.friendlyId for m in world.lease(key="b")] == [second]
        check_books()

    def test_several_lost_runs_are_given_again_together(self, world: World) -> None:
        """None of a lost answer's runs has to wait for its stall."""
        runs = [world.trigger() for _ in range(3)]
        for _ in range(2):
            assert [m.run.friendlyId for m in world.lease(count=3, key="a")] == runs
        assert rows_of("SELECT count(*) FROM runs_lease") == [(3,)]

    def test_a_started_run_is_not_given_again(self, world: World) -> None:
        """By then the answer was not lost: the request would be a new one."""
        run_id, later = world.trigger(), world.trigger()
        (message,) = world.lease(key="a")
        world.start(run_id, message.snapshot.friendlyId)
        assert [m.run.friendlyId for m in world.lease(key="a")] == [later]

    def test_another_group_cannot_use_the_key(self, world: World) -> None:
        """Keys are the group's own."""
        world.trigger()
        world.lease(key="a")
        stranger = make_world()
        assert stranger.lease(key="a") == []

    def test_more_than_ten_are_never_given_at_once(self, world: World) -> None:
        """A request may ask for more; what it cannot ask for is refused."""
        for _ in range(12):
            world.trigger()
        assert len(json_of(Supervisor(world).act("dequeue", {"maxRunCount": 100}))) == 10
        json_of(Supervisor(world).act("dequeue", {"maxRunCount": 101}), 400)


class TestWaiting:
    """The long poll."""

    @pytest.fixture
    def patient(self, settings: Settings) -> None:
        """Let a dequeue wait for long."""
        settings.ENV = dataclasses.replace(settings.ENV, dequeue_blocking_timeout_s=20)

    @pytest.mark.django_db(transaction=True)
    def test_a_trigger_wakes_who_waits(self, redis_url: str, patient: None) -> None:
        """The run is there a fraction of a second after its trigger, long before the next look."""
        world = make_world()
        board_before = board.mark(world.queue)
        waiting = _Waiting(world)
        took_s = waiting.until_given(world.trigger)
        assert took_s < 2
        assert board.mark(world.queue) > board_before

    @pytest.mark.django_db(transaction=True)
    def test_word_of_another_process_wakes_as_well(self, redis_url: str, patient: None) -> None:
        """A message on the queue's channel is as good as a trigger here."""
        world = make_world()
        asked, done = threading.Event(), threading.Event()

        def _take() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = [{}] if asked.is_set() else []
            asked.set()
            return found

        def _tell() -> bool:
            hear_ready(CHANNEL_PREFIX + world.queue)
            return done.is_set()

        def _tell_until_heard() -> None:
            assert asked.wait(10)
            wait_until(_tell)  # again and again: at the first time it may not wait yet

        began = time.monotonic()
        thread = threading.Thread(target=_tell_until_heard)
        thread.start()
        assert wait_for(_take, queue=world.queue) == [{}]
        done.set()
        thread.join()
        assert time.monotonic() - began < 4

    @pytest.mark.django_db(transaction=True)
    def test_a_lifted_pause_wakes_who_waits(self, redis_url: str, patient: None) -> None:
        """An environment that goes on is served at once, not at the next look."""
        world = make_world()
        limit(world, paused=True)
        world.trigger()
        assert _Waiting(world).until_given(lambda: limit(world, paused=False)) < 2

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.fault(
        kills="Valkey",
        step="queued",
        expects="a waiting supervisor looks by itself",
    )
    def test_without_word_it_looks_again(
        self, servers: Servers, redis_url: str, patient: None, without_redis: None
    ) -> None:
        """With Redis gone, what another process has put there is found within about a second."""
        world = make_world()
        assert not feed.subscribed
        waiting = _Waiting(world)
        took_s = waiting.until_given(lambda: _trigger_unheard(world))
        assert took_s < 4

    @pytest.fixture
    def without_redis(self, servers: Servers) -> Generator[None, None, None]:
        """Stop Valkey for the test."""
        servers.need_valkey()
        servers.stop_valkey()
        yield
        servers.need_valkey()

    @pytest.mark.django_db(transaction=True)
    def test_nothing_is_nothing_after_a_while(self, settings: Settings, redis_url: str) -> None:
        """An empty list, when the time is over."""
        settings.ENV = dataclasses.replace(settings.ENV, dequeue_blocking_timeout_s=0)
        assert json_of(Supervisor(make_world()).act("dequeue")) == []

    @pytest.mark.django_db(transaction=True)
    def test_polls_beyond_the_bound_do_not_wait(self, redis_url: str, patient: None) -> None:
        """As many as may wait do; the next one is answered at once."""
        world = make_world()
        waiting = [_Waiting(world) for _ in range(settings.ENV.max_polls)]
        began = time.monotonic()
        assert json_of(Supervisor(world).act("dequeue")) == []
        assert time.monotonic() - began < 5
        for _ in waiting:
            world.trigger()
        for one in waiting:
            one.join()

    def test_the_queue_of_schedules_is_empty(self, world: World) -> None:
        """No run is put there yet, so asking for it neither waits nor takes another's."""
        world.trigger()
        assert json_of(Supervisor(world).act("dequeue", {"queueClass": "scheduled"})) == []


class _Waiting:
    """A dequeue that waits in a thread of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.given: list[Any] = []
        self.given_at = 0.0
        self.looked = threading.Event()
        self.thread = threading.Thread(target=self._wait)
        self.thread.start()
        assert self.looked.wait(10)

    def _wait(self) -> None:
        def _take() -> list[dict[str, Any]]:
            taken = [message.to_wire() for message in self.world.lease()]
            self.looked.set()
            return taken

        try:
            self.given = wait_for(_take, queue=self.world.queue)
            self.given_at = time.monotonic()
        finally:
            release_connections()

    def join(self) -> None:
        """Wait for its end."""
        self.thread.join(30)
        assert len(self.given) == 1

    def until_given(self, act: Callable[[], object]) -> float:
        """Act, and give how long after it the run was given."""
        began = time.monotonic()
        act()
        self.join()
        return self.given_at - began


def _trigger_unheard(world: World) -> None:
    """Make a waiting run ready as another process does: this one's board hears nothing."""
    run_id = world.trigger("unknown")
    change("DELETE FROM runs_versionwait WHERE run_id = %s", run_id)
    change(
        "UPDATE runs_taskrun SET task_slug = 'hello', status = 'PENDING',"
        " execution_status = 'QUEUED' WHERE id = %s",
        run_id,
    )
    change("SELECT runs_enqueue(%s)", run_id)
