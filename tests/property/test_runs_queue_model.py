"""The queue beside a simple model of it: any order of triggers, leases, ends and changed limits.

The model knows each run's place and each limit, and from them which runs may be given next. The
database has to agree after every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from deployments.environment_entry import ENTRIES
from deployments.version_info import find_version
from runs.contracts import DispatchFailed
from runs.expiry import expire_waiting_runs
from runs.reconcilers import release_due_runs, release_waiting_versions, repair_stalled_runs
from runs.services.cancellation import cancel_run
from runs.services.leases import Room, fail_dispatch
from tests.factories import make_tenant
from tests.running import (
    World,
    change,
    failed,
    make_version,
    make_world,
    read_books,
    rows_of,
    run_of,
    stall,
    task,
)
from tests.sizes import examples, sized

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

SMALL = Room(cpu=1, memory=1)
ENVIRONMENTS = (0, 1)
QUEUES = ("a", "b")
KEYS = ("", "k")
UNLIMITED = 10**9
# As often as they are named here.
ACTIONS = (
    *["trigger"] * 4,
    *["dequeue"] * 5,
    "dequeue small",
    *["go on"] * 5,
    "lose",
    "cancel",
    "come due",
    "wait too long",
    "deploy",
    *["limit environment"] * 2,
    *["limit queue"] * 2,
)


class Lane(NamedTuple):
    """Where a ready run waits."""

    environment: int
    queue: str
    key: str


@dataclass
class Run:
    """What the model knows of a run."""

    id: str
    lane: Lane
    score: int
    is_large: bool
    is_unknown: bool  # of the task that only one of the two versions has
    place: str  # ready, delayed, version, lease or nowhere
    snapshot: str = ""  # of its lease or attempt
    is_started: bool = False
    is_canceled: bool = False  # and not yet confirmed
    has_version: bool = False  # the one it was first taken with
    has_ttl: bool = False

    @property
    def order(self) -> tuple[int, str]:
        """Runs of a lane are given by it."""
        return self.score, self.id


LANES = st.builds(
    Lane, st.sampled_from(ENVIRONMENTS), st.sampled_from(QUEUES), st.sampled_from(KEYS)
)
RARELY = st.sampled_from([False, False, False, True])


class QueueMachine(RuleBasedStateMachine):
    """Does to both what a rule says; every step is undone when the example is over."""

    worlds: ClassVar[tuple[World, ...]] = ()
    versions: ClassVar[dict[tuple[int, bool], str]] = {}  # (environment, knows all tasks) -> id

    def __init__(self) -> None:
        """Start with nothing, in a savepoint of its own."""
        super().__init__()
        self.undo: AbstractContextManager[None] = transaction.atomic()
        self.undo.__enter__()
        self.runs: list[Run] = []
        self.limits = dict.fromkeys(ENVIRONMENTS, 3)
        self.paused = dict.fromkeys(ENVIRONMENTS, False)
        self.queue_limits: dict[tuple[int, str], int] = {}
        self.queue_paused: set[tuple[int, str]] = set()
        self.knows_all = dict.fromkeys(ENVIRONMENTS, False)
        self.passed_over: set[int] = set()  # environments that could have been given last time
        self.last: int | None = None
        for environment in ENVIRONMENTS:
            self._write_limits(environment)
            self._write_version(environment)

    def teardown(self) -> None:
        """Undo everything."""
        transaction.set_rollback(True)
        self.undo.__exit__(None, None, None)

    # -- what the model says -----------------------------------------------------------------------

    def at(self, place: str) -> list[Run]:
        """Give the runs of a place."""
        return [run for run in self.runs if run.place == place]

    def has_slot(self, lane: Lane) -> bool:
        """Tell whether one more run of the lane may be given."""
        leased = self.at("lease")
        where = lane.environment, lane.queue
        of_environment = sum(run.lane.environment == lane.environment for run in leased)
        of_lane = sum(run.lane == lane for run in leased)
        return (
            not self.paused[lane.environment]
            and of_environment < self.limits[lane.environment]
            and where not in self.queue_paused
            and of_lane < self.queue_limits.get(where, UNLIMITED)
        )

    def is_parked_when_taken(self, run: Run) -> bool:
        """Tell whether the current version of its environment lacks the run's task."""
        lacks = run.is_unknown and not self.knows_all[run.lane.environment]
        return lacks and not run.has_version

    def heads(self, *, small_only: bool = False) -> list[Run]:
        """Give the runs that may be given next: the first of each lane with a slot."""
        lanes: dict[Lane, Run] = {}
        for run in sorted(self.at("ready"), key=lambda run: run.order):
            if not self.is_parked_when_taken(run):
                lanes.setdefault(run.lane, run)
        fits = [run for run in lanes.values() if self.has_slot(run.lane)]
        return [run for run in fits if not (small_only and run.is_large)]

    # -- what happens ------------------------------------------------------------------------------

    @rule(action=st.sampled_from(ACTIONS), data=st.data())
    def act(self, action: str, data: st.DataObject) -> None:
        """Do one thing; one rule draws them all, so that every life has all of them."""
        doing: dict[str, Callable[[st.DataObject], None]] = {
            "trigger": self._trigger,
            "dequeue": self._dequeue,
            "dequeue small": self._dequeue_small,
            "go on": self._go_on,
            "lose": self._lose,
            "cancel": self._cancel,
            "come due": self._come_due,
            "wait too long": self._wait_too_long,
            "deploy": self._deploy,
            "limit environment": self._limit_environment,
            "limit queue": self._limit_queue,
        }
        doing[action](data)

    def _trigger(self, data: st.DataObject) -> None:
        """Make some runs of one lane; one that waits for a version waits for its time after that."""
        lane = data.draw(LANES)
        is_unknown, is_large = data.draw(RARELY), data.draw(RARELY)
        waits = is_unknown and not self.knows_all[lane.environment]
        place = "version" if waits else "delayed" if data.draw(RARELY) else "ready"
        later, has_ttl = datetime.now(UTC) + timedelta(hours=1), data.draw(RARELY)
        for _ in range(data.draw(st.integers(1, 3))):
            run_id = self.worlds[lane.environment].trigger(
                "unknown" if is_unknown else "hello",
                queue=lane.queue,
                concurrency_key=lane.key,
                priority_ms=data.draw(st.sampled_from([0, 0, 5000])),
                machine="large-2x" if is_large else "micro",
                delay_until=later if place == "delayed" else None,
                ttl_s=60 if has_ttl else None,
            )
            made = Run(run_id, lane, run_of(run_id).score, is_large, is_unknown, place)
            made.has_ttl = has_ttl
            self.runs.append(made)

    def _dequeue(self, data: st.DataObject) -> None:
        """Take runs: each one of those that may be given, and not nothing when there is one."""
        for _ in range(data.draw(st.integers(1, 4))):
            heads = self.heads()
            given = self._take(heads, None)
            waiting = {run.lane.environment for run in heads}
            if given is not None:
                environment = given.lane.environment
                others = waiting & self.passed_over - {environment}
                assert not (others and environment == self.last), "one environment twice in a row"
                self.last = environment
            self.passed_over = waiting

    def _dequeue_small(self, _data: st.DataObject) -> None:
        """Take the next run that fits a small machine; what does not fit is passed over."""
        self._take(self.heads(small_only=True), SMALL)
        self.passed_over = set()

    def _take(self, heads: list[Run], room: Room | None) -> Run | None:
        messages = self.worlds[0].lease(room=room)
        parked = {run_id for (run_id,) in rows_of("SELECT run_id FROM runs_versionwait")}
        for run in self.at("ready"):
            if self.is_parked_when_taken(run) and run.id in parked:
                run.place = "version"  # whether it was looked at depends on whose turn it was
        taken = [message.run.friendlyId for message in messages]
        given = next((run for run in heads if [run.id] == taken), None)
        assert (given is not None) == bool(heads), f"given {taken}, expected one of {heads}"
        assert given is not None or not taken, f"given {taken} although nothing may be"
        if given is not None:
            given.place, given.snapshot = "lease", messages[0].snapshot.friendlyId
            given.is_started, given.has_version = False, True
        return given

    def _draw(self, data: st.DataObject, runs: list[Run]) -> Run | None:
        return data.draw(st.sampled_from(runs)) if runs else None

    def _go_on(self, data: st.DataObject) -> None:
        """Start a lease, or end an attempt: done, or retried in place, now or later."""
        run = self._draw(data, self.at("lease"))
        if run is None:
            return
        world = self.worlds[run.lane.environment]
        if run.is_canceled:
            stall(run.id)
            assert repair_stalled_runs() == 1
            run.place = "nowhere"
            return
        if not run.is_started:
            run.snapshot, run.is_started = world.start(run.id, run.snapshot), True
        end = data.draw(st.sampled_from(["done", "failed", "again", "again later", "in place"]))
        delay_ms = {"failed": None, "again later": 60_000}.get(end, 0)
        completion = None if end == "done" else failed(run.id, delay_ms=delay_ms)
        change("UPDATE runs_taskrun SET max_attempts = 200 WHERE id = %s", run.id)
        world.complete(run.id, run.snapshot, completion, force_queue=end == "again")
        if end == "in place":
            run.snapshot = world.start(run.id, run_of(run.id).snapshot_id)
            return
        run.place = {"again": "ready", "again later": "delayed"}.get(end, "nowhere")

    def _lose(self, data: st.DataObject) -> None:
        """Lose a lease that was not started: the supervisor says so, or falls silent."""
        leases = [r for r in self.at("lease") if not r.is_started and not r.is_canceled]
        run = self._draw(data, leases)
        if run is None:
            return
        world = self.worlds[run.lane.environment]
        change("UPDATE runs_taskrun SET deliveries = 0 WHERE id = %s", run.id)
        if data.draw(st.booleans()):
            fail_dispatch(
                run_id=run.id,
                snapshot_id=run.snapshot,
                failure=DispatchFailed(reason="no_capacity", message="full"),
                scope=world.scope,
                mover=world.mover(),
            )
        else:
            stall(run.id)
            assert repair_stalled_runs() == 1
        run.place = "delayed"

    def _cancel(self, data: st.DataObject) -> None:
        """Cancel any run."""
        run = self._draw(data, [run for run in self.runs if not run.is_canceled])
        if run is None:
            return
        world = self.worlds[run.lane.environment]
        cancel_run(environment_id=world.environment_id, run_id=run.id)
        if run.place == "lease":
            run.is_canceled = True
        else:
            run.place = "nowhere"

    def _come_due(self, _data: st.DataObject) -> None:
        """Let everything delayed come due."""
        change("UPDATE runs_delayedentry SET due_at = now() - interval '1 s'")
        delayed = self.at("delayed")
        assert release_due_runs() == len(delayed)
        for run in delayed:
            run.place = "ready"

    def _wait_too_long(self, _data: st.DataObject) -> None:
        """Let every ttl be over: it counts for those that are ready and were never taken."""
        change(
            "UPDATE runs_taskrun SET ttl_ends_at = now() - interval '1 s' WHERE ttl_ends_at > now()"
        )
        over = [run for run in self.at("ready") if run.has_ttl and not run.has_version]
        assert expire_waiting_runs() == len(over)
        for run in over:
            run.place = "nowhere"

    def _deploy(self, data: st.DataObject) -> None:
        """Make the version with, or the one without, the unknown task the current one."""
        environment = data.draw(st.sampled_from(ENVIRONMENTS))
        self.knows_all[environment] = data.draw(st.booleans())
        self._write_version(environment)
        released = [run for run in self.at("version") if self.knows_all[run.lane.environment]]
        assert release_waiting_versions() == len(released)
        for run in released:
            run.place = "ready"

    def _write_version(self, environment: int) -> None:
        change(
            "UPDATE deployments_currentversion SET worker_id = %s WHERE environment_id = %s",
            self.versions[environment, self.knows_all[environment]],
            self.worlds[environment].environment_id,
        )
        ENTRIES.clear()

    def _limit_environment(self, data: st.DataObject) -> None:
        """Change what an environment may run."""
        environment = data.draw(st.sampled_from(ENVIRONMENTS))
        self.limits[environment] = data.draw(st.integers(0, 4))
        self.paused[environment] = data.draw(RARELY)
        self._write_limits(environment)

    def _write_limits(self, environment: int) -> None:
        change(
            "UPDATE tenants_environment SET concurrency_limit = %s, paused = %s WHERE id = %s",
            self.limits[environment],
            self.paused[environment],
            self.worlds[environment].environment_id,
        )

    def _limit_queue(self, data: st.DataObject) -> None:
        """Change what a queue may run."""
        where = environment, queue = data.draw(LANES)[:2]
        limit, is_paused = data.draw(st.sampled_from([None, 0, 1, 2])), data.draw(RARELY)
        change(
            "UPDATE deployments_taskqueue SET concurrency_limit = %s, paused = %s"
            " WHERE environment_id = %s AND name = %s",
            limit,
            is_paused,
            self.worlds[environment].environment_id,
            queue,
        )
        self.queue_limits[where] = UNLIMITED if limit is None else limit
        (self.queue_paused.add if is_paused else self.queue_paused.discard)(where)

    # -- what holds after every step ---------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        """Every run is where the model has it, in one place; every counter is exact."""
        books = read_books()
        assert books.problems == []
        expected = {run.id: [] if run.place == "nowhere" else [run.place] for run in self.runs}
        assert books.places == expected

    @invariant()
    def nothing_that_may_be_given_is_blocked(self) -> None:
        """Find each lane that has a slot and a run open, and its environment's turn too."""
        blocked = rows_of(
            "SELECT l.environment_id, l.queue_name, l.concurrency_key FROM runs_lane l"
            " JOIN runs_environmentturn t USING (worker_queue, environment_id)"
            " WHERE l.blocked OR t.blocked"
        )
        ids = [world.environment_id for world in self.worlds]
        lanes = {Lane(ids.index(environment), queue, key) for environment, queue, key in blocked}
        assert not lanes & {run.lane for run in self.heads()}


def _check(count: int, steps: int) -> None:
    first = make_world(deployed=False)
    QueueMachine.worlds = (first, first.in_environment(make_tenant()))
    known = (task("hello"), *(task(name, queue_name=name) for name in QUEUES))
    for environment, world in enumerate(QueueMachine.worlds):
        for knows_all in (True, False):
            version = make_version(world.tenant, *known, *([task("unknown")] if knows_all else []))
            found = find_version(world.environment_id, version)
            assert found is not None
            QueueMachine.versions[environment, knows_all] = found.worker_id
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db
def test_the_queue_agrees_with_its_model() -> None:
    """Limits are never passed, every run is in one place, all that may be given is, by turns.

    Covered: triggers into lanes, with priorities, delays and unknown tasks; dequeues with and without
    a bound of size; starts, ends and retries in place, now and later; lost and canceled leases;
    runs that wait too long; deploys; limits and pauses of environments and queues. Eight faults were put into the queue's
    functions, one at a time, and each is found at this size: a slot that is not given back, a lane
    and an environment that stay shut when a lease ends, a lifted limit that opens nothing, a limit
    passed by one, the newest first, a turn that is kept, and a head too large that shuts its lane.
    """
    _check(count=examples(25), steps=sized(60, full=100))
