"""Every move of a run's life, its connection killed before each of its statements in turn.

That is what a kill -9 of a web process or worker, or of PostgreSQL, does to whatever it was doing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.db import OperationalError, connection

from ledger.connections import release_connections
from runs.contracts import DispatchFailed
from runs.reconcilers import release_due_runs, release_waiting_versions, repair_stalled_runs
from runs.services.attempts import heartbeat_run
from runs.services.cancellation import cancel_run
from runs.services.leases import fail_dispatch
from tests.running import (
    World,
    check_books,
    executing,
    failed,
    leased,
    make_due,
    make_version,
    make_world,
    rows_of,
    run_of,
    stall,
    states_of,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

MAX_STATEMENTS = 60


class Step(NamedTuple):
    """One move: what is done, to which run, and how that run stands once it was done."""

    run_id: str
    act: Callable[[], Any]
    after: tuple[str, str]


class Killer:
    """Ends this thread's connection before its n-th statement, from another one."""

    def __init__(self, before: int) -> None:
        self._left = before
        self.has_killed = False

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        """Let the statement pass, or kill the connection it is about to use."""
        if self._left == 0:
            self.has_killed = True
            assert connection.connection is not None
            kill(connection.connection.info.backend_pid)
        self._left -= 1
        return execute(sql, params, many, context)


def kill(pid: int) -> None:
    """End a connection from another one, and return when it is gone."""

    def _kill() -> None:
        try:
            assert rows_of("SELECT pg_terminate_backend(%s, 10000)", pid) == [(True,)]
        finally:
            release_connections()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(_kill).result()


def lease_step(world: World) -> Step:
    """Give a run to a supervisor."""
    run_id = world.trigger()
    return Step(
        run_id, lambda: world.lease(key=f"lease-{run_id}"), ("PENDING_EXECUTING", "DEQUEUED")
    )


def start_step(world: World) -> Step:
    """Start a leased run."""
    run_id, snapshot = leased(world)
    return Step(run_id, lambda: world.start(run_id, snapshot), ("EXECUTING", "EXECUTING"))


def heartbeat_step(world: World) -> Step:
    """Hear of an executing run."""
    run_id, snapshot = executing(world)

    def act() -> None:
        assert heartbeat_run(run_id=run_id, snapshot_id=snapshot, scope=world.scope)

    return Step(run_id, act, ("EXECUTING", "EXECUTING"))


def complete_step(world: World) -> Step:
    """End an attempt well."""
    run_id, snapshot = executing(world)
    return Step(
        run_id,
        lambda: world.complete(run_id, snapshot),
        ("FINISHED", "COMPLETED_SUCCESSFULLY"),
    )


def retry_step(world: World) -> Step:
    """End an attempt that is tried again at once, in its place."""
    run_id, snapshot = executing(world)
    ended = failed(run_id, delay_ms=10)
    return Step(
        run_id,
        lambda: world.complete(run_id, snapshot, ended),
        ("EXECUTING", "RETRYING_AFTER_FAILURE"),
    )


def requeue_step(world: World) -> Step:
    """End an attempt that is tried again through the queue."""
    run_id, snapshot = executing(world)
    ended = failed(run_id, delay_ms=60_000)
    return Step(
        run_id,
        lambda: world.complete(run_id, snapshot, ended),
        ("QUEUED", "PENDING"),
    )


def fail_step(world: World) -> Step:
    """End the last attempt."""
    run_id, snapshot = executing(world)
    ended = failed(run_id, delay_ms=None)
    return Step(
        run_id,
        lambda: world.complete(run_id, snapshot, ended),
        ("FINISHED", "COMPLETED_WITH_ERRORS"),
    )


def hand_back_step(world: World) -> Step:
    """Take back a lease for which no workload could be started."""
    run_id, snapshot = leased(world)
    failure = DispatchFailed(reason="create_failed", message="no")

    def act() -> None:
        fail_dispatch(
            run_id=run_id,
            snapshot_id=snapshot,
            failure=failure,
            scope=world.scope,
            mover=world.mover(),
        )

    return Step(run_id, act, ("QUEUED", "PENDING"))


def cancel_waiting_step(world: World) -> Step:
    """Cancel a run that waits."""
    run_id = world.trigger()
    return Step(
        run_id,
        lambda: cancel_run(environment_id=world.environment_id, run_id=run_id),
        ("FINISHED", "CANCELED"),
    )


def cancel_executing_step(world: World) -> Step:
    """Cancel a run that executes."""
    run_id, _ = executing(world)
    return Step(
        run_id,
        lambda: cancel_run(environment_id=world.environment_id, run_id=run_id),
        ("PENDING_CANCEL", "CANCELED"),
    )


def due_step(world: World) -> Step:
    """Make ready a run whose delay is over."""
    run_id = world.trigger(delay_until=datetime.now(UTC) + timedelta(minutes=1))
    make_due(run_id)
    return Step(run_id, release_due_runs, ("QUEUED", "PENDING"))


def version_step(world: World) -> Step:
    """Make ready a run whose version has come."""
    slug = f"later-{len(rows_of('SELECT 1 FROM runs_taskrun'))}"
    run_id = world.trigger(slug)
    make_version(world.tenant, task(slug), task())
    return Step(run_id, release_waiting_versions, ("QUEUED", "PENDING"))


def stalled_lease_step(world: World) -> Step:
    """Take back a lease that was never started."""
    run_id, _ = leased(world)
    stall(run_id)
    return Step(run_id, repair_stalled_runs, ("QUEUED", "PENDING"))


def stalled_attempt_step(world: World) -> Step:
    """Take back an attempt that fell silent."""
    run_id, _ = executing(world)
    stall(run_id)
    return Step(run_id, repair_stalled_runs, ("QUEUED", "PENDING"))


def stalled_cancel_step(world: World) -> Step:
    """End a cancel that nobody confirmed."""
    run_id, _ = executing(world)
    cancel_run(environment_id=world.environment_id, run_id=run_id)
    stall(run_id)
    return Step(run_id, repair_stalled_runs, ("FINISHED", "CANCELED"))


STEPS = (
    lease_step,
    start_step,
    heartbeat_step,
    complete_step,
    retry_step,
    requeue_step,
    fail_step,
    hand_back_step,
    cancel_waiting_step,
    cancel_executing_step,
    due_step,
    version_step,
    stalled_lease_step,
    stalled_attempt_step,
    stalled_cancel_step,
)


@pytest.mark.fault(
    kills="web, worker or PostgreSQL",
    step="before each statement of each move: lease, start, heartbeat, completion, retry, requeue,"
    " hand-back, cancel, due, version, each stall",
    expects="the move was made whole or not at all, and making it again makes it once",
)
@pytest.mark.parametrize("make_step", STEPS, ids=lambda step: step.__name__)
def test_a_move_killed_at_any_statement_can_be_made_again(
    make_step: Callable[[World], Step],
) -> None:
    """Whichever statement it dies before, nothing is half done, and a repeat does it once."""
    world = make_world()
    for number in range(MAX_STATEMENTS):
        step, killer = make_step(world), Killer(before=number)
        before = run_of(step.run_id).snapshot_id
        with connection.execute_wrapper(killer):
            error = attempt(step.act)
        if not killer.has_killed:
            assert error is None
            assert number > 0
            break
        assert isinstance(error, OperationalError), f"statement {number}: {error!r}"
        is_made = run_of(step.run_id).snapshot_id != before
        assert not is_made or states_of(step.run_id) == step.after, f"statement {number}"
        check_books()
        step.act()
        assert states_of(step.run_id) == step.after, f"statement {number}"
        check_books()
        finish(world, step.run_id)
    else:
        pytest.fail("it never came to its end")


def attempt(act: Callable[[], Any]) -> Exception | None:
    """Act, clear up the connection, and give what went wrong."""
    try:
        act()
    except OperationalError as error:
        connection.close()
        return error
    return None


def finish(world: World, run_id: str) -> None:
    """End a run, so that the next one is alone."""
    cancel_run(environment_id=world.environment_id, run_id=run_id)
    if states_of(run_id)[0] != "FINISHED":
        stall(run_id)
        repair_stalled_runs()
    assert states_of(run_id)[0] == "FINISHED"
