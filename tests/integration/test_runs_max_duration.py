"""Attempts that take longer than they may, and runs that are older than their plan keeps them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings

from ledger.ids import encode_ms
from runs.contracts import LogBatch, LogLine
from runs.reconcilers import end_overlong_attempts
from runs.retention import BATCH, forget_old_runs
from runs.services.cancellation import cancel_run
from runs.services.logs import append_logs
from runs.services.presence import note_presence
from tenants.services import update_organization
from tests.factories import NOW, ORIGIN
from tests.running import (
    World,
    change,
    check_books,
    executing,
    failed,
    leased,
    make_world,
    rows_of,
    run_of,
    states_of,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(db: None) -> World:
    """Give a world whose task may take a minute."""
    note_presence()
    return make_world(task(max_duration_s=60), task("endless"))


@pytest.fixture
def change_env(settings: Any) -> Callable[..., None]:
    """Give a function that changes values of the environment for this test."""

    def _change(**values: object) -> None:
        settings.ENV = replace(settings.ENV, **values)

    return _change


def ends_in_s(run_id: str) -> float | None:
    """Give the seconds until the engine ends an attempt."""
    ((left,),) = rows_of(
        "SELECT extract(epoch FROM attempt_ends_at - clock_timestamp())::float8 FROM runs_lease"
        " WHERE run_id = %s",
        run_id,
    )
    return None if left is None else float(left)


def overrun(run_id: str) -> None:
    """Let the attempt have taken too long."""
    change(
        "UPDATE runs_lease SET attempt_ends_at = now() - interval '1 s' WHERE run_id = %s", run_id
    )


class TestMaxDuration:
    """The runner ends an attempt that takes too long; the engine ends what it left."""

    def test_an_overlong_attempt_is_timed_out(self, world: World) -> None:
        """Final, with its code, and without another attempt; its runner comes too late."""
        run_id, snapshot = executing(world)
        grace_s = django_settings.ENV.max_duration_grace_ms / 1000
        assert ends_in_s(run_id) == pytest.approx(60 + grace_s, abs=25)
        overrun(run_id)
        result = end_overlong_attempts()
        assert (result, result.found, end_overlong_attempts()) == (1, 1, 0)
        assert states_of(run_id) == ("FINISHED", "TIMED_OUT")
        error = run_of(run_id).error or {}
        assert error["code"] == "MAX_DURATION_EXCEEDED"
        assert "60 s" in error["message"]
        assert run_of(run_id).snapshot_id > snapshot
        check_books()

    def test_the_calls_word_goes_before_the_tasks(self, world: World) -> None:
        """A run without any limit is never ended for its length."""
        for given, limit in ((5, 5), (None, 60)):
            world.trigger(max_duration_s=given)
            message = world.lease_one()
            run_id = message.run.friendlyId
            assert ends_in_s(run_id) is None, "a lease alone is no attempt"
            world.start(run_id, message.snapshot.friendlyId)
            assert ends_in_s(run_id) == pytest.approx(limit + 60, abs=25)
        world.trigger("endless")
        message = world.lease_one()
        world.start(message.run.friendlyId, message.snapshot.friendlyId)
        assert ends_in_s(message.run.friendlyId) is None

    def test_each_attempt_has_all_of_it(self, world: World) -> None:
        """Between two attempts nothing counts; the next one counts anew."""
        run_id, snapshot = executing(world)
        overrun(run_id)
        world.complete(run_id, snapshot, failed(run_id))
        assert ends_in_s(run_id) is None
        assert end_overlong_attempts() == 0
        world.start(run_id, run_of(run_id).snapshot_id)
        assert ends_in_s(run_id) == pytest.approx(120, abs=25)

    def test_a_canceled_attempt_is_left_to_its_cancel(self, world: World) -> None:
        """It is ended as canceled, not as too long."""
        run_id, _ = executing(world)
        cancel_run(environment_id=world.environment_id, run_id=run_id)
        assert (ends_in_s(run_id), end_overlong_attempts()) == (None, 0)

    def test_what_nobody_could_hear_does_not_count(self, world: World) -> None:
        """A runner that ended in time gets to say so once somebody listens again."""
        run_id, _ = executing(world)
        change("UPDATE runs_lease SET attempt_ends_at = now() + interval '5 s'")
        change("UPDATE runs_presence SET heard_at = clock_timestamp() - interval '100 s'")
        assert end_overlong_attempts() == 0
        assert note_presence() == pytest.approx(100, abs=25)
        assert ends_in_s(run_id) == pytest.approx(105, abs=25)

    def test_waiting_is_not_taking_long(self, world: World) -> None:
        """An attempt that waits for something else is left alone."""
        run_id, _ = executing(world)
        change("UPDATE runs_taskrun SET execution_status = 'EXECUTING_WITH_WAITPOINTS'")
        overrun(run_id)
        assert end_overlong_attempts() == 0


def ended(world: World, *, days: float, **call: Any) -> str:
    """Give a run that was triggered and canceled so many days ago."""
    run_id = world.trigger(**call)
    cancel_run(environment_id=world.environment_id, run_id=run_id)
    return age(run_id, days)


def age(run_id: str, days: float) -> str:
    """Move a run into the past, its id included; give its new id."""
    moment = datetime.now(UTC) - timedelta(days=days)
    old_id = world_id(run_id, moment)
    for table in ("runs_runsnapshot", "runs_runlog", "runs_idempotencykey"):
        change(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        change(f"UPDATE {table} SET run_id = %s WHERE run_id = %s", old_id, run_id)
        change(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    change(
        "UPDATE runs_taskrun SET id = %s, created_at = %s,"
        " completed_at = CASE WHEN completed_at IS NULL THEN NULL ELSE %s::timestamptz END"
        " WHERE id = %s",
        old_id,
        moment,
        moment,
        run_id,
    )
    return old_id


def world_id(run_id: str, moment: datetime) -> str:
    """Give the id a run would have, had it been triggered at this moment."""
    return f"run_{encode_ms(int(moment.timestamp() * 1000))}{run_id[-15:]}"


def is_there(run_id: str) -> bool:
    """Tell whether a run is still known."""
    return rows_of("SELECT 1 FROM runs_taskrun WHERE id = %s", run_id) == [(1,)]


class TestRetention:
    """Old runs are forgotten, by the plan their organization has now."""

    @pytest.mark.parametrize(
        ("plan", "days"), [("free", 30), ("paid", 90), ("enterprise", 365), (None, 365)]
    )
    def test_each_plan_keeps_its_time(self, world: World, plan: str | None, days: int) -> None:
        """A day more and it is forgotten, a day less and it is kept."""
        update_organization(world.tenant.organization.id, {"plan": plan}, now=NOW, **ORIGIN)
        old, young = ended(world, days=days + 1), ended(world, days=days - 1)
        assert (forget_old_runs(), forget_old_runs()) == (1, 0)
        assert (is_there(old), is_there(young)) == (False, True)

    def test_everything_of_a_run_goes_with_it(self, world: World) -> None:
        """Snapshots, lines and keys; those of others stay."""
        keyed: dict[str, Any] = {"idempotency_key_ttl_s": 10**8}
        young = ended(world, days=1, idempotency_key="young", **keyed)
        old = world.trigger(idempotency_key="old", **keyed)
        line = LogLine(seq=0, at=0, stream="log", text="x")
        append_logs(run_id=old, batch=LogBatch(attempt=1, lines=[line]))
        cancel_run(environment_id=world.environment_id, run_id=old)
        age(old, 31)
        assert forget_old_runs() == 1
        for table in ("runs_runsnapshot", "runs_idempotencykey"):
            assert {run_id for (run_id,) in rows_of(f"SELECT run_id FROM {table}")} == {young}
        assert rows_of("SELECT count(*) FROM runs_runlog") == [(0,)]
        assert world.trigger(idempotency_key="old") != old
        check_books()

    def test_a_run_that_is_not_over_is_never_forgotten(self, world: World) -> None:
        """However old it is: waiting, delayed, held or executing."""
        later = datetime.now(UTC) + timedelta(days=400)
        runs = [executing(world)[0], leased(world)[0], world.trigger()]
        runs += [world.trigger(delay_until=later), world.trigger("unknown")]
        change("UPDATE runs_taskrun SET created_at = now() - interval '9 years'")
        assert forget_old_runs() == 0
        assert all(map(is_there, runs))

    def test_what_ended_lately_is_kept_though_it_began_long_ago(self, world: World) -> None:
        """A run's age counts from its end."""
        old = ended(world, days=100)
        change("UPDATE runs_taskrun SET completed_at = now()")
        assert (forget_old_runs(), is_there(old)) == (0, True)

    def test_nothing_is_forgotten_when_all_is_kept(
        self, world: World, change_env: Callable[..., None]
    ) -> None:
        """0 days mean for ever, for each plan by itself."""
        old = ended(world, days=9_000)
        change_env(retention_days={"free": 0, "paid": 90, "enterprise": 365})
        assert forget_old_runs() == 0
        change_env(retention_days={"free": 0, "paid": 0, "enterprise": 0})
        assert (forget_old_runs(), is_there(old)) == (0, True)

    def test_more_than_a_batch_goes_in_one_tick(self, world: World) -> None:
        """Batch after batch until none is left."""
        old = ended(world, days=40)
        change(
            "INSERT INTO runs_taskrun SELECT (jsonb_populate_record(r, jsonb_build_object('id',"
            " left(r.id, 20) || to_char(n, 'FM000000000')))).* FROM runs_taskrun r,"
            " generate_series(1, %s) n WHERE r.id = %s",
            BATCH + 5,
            old,
        )
        assert forget_old_runs() == BATCH + 6
