"""Triggering: one statement, keys, waiting for versions and times, regions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deployments.worker_groups import set_project_routing
from runs.calls import TriggerCall, Triggered
from runs.reconcilers import release_due_runs, release_waiting_versions
from runs.services.cancellation import cancel_run
from runs.services.trigger import trigger_run
from tenants.errors import Refused
from tests.api_client import ApiClient, json_of
from tests.factories import NOW, ORIGIN, make_worker_group
from tests.running import (
    REGION,
    World,
    check_books,
    empty_memory,
    failed,
    internal,
    make_due,
    make_version,
    make_world,
    race,
    read_books,
    rows_of,
    run_of,
    states_of,
    task,
)

if TYPE_CHECKING:
    from django.http import HttpResponse

pytestmark = pytest.mark.django_db

TRIGGER = "/api/v1/tasks/hello/trigger"


def call(
    world: World, *, slug: str = "hello", at: datetime | None = None, **given: Any
) -> Triggered:
    """Trigger at a moment and give the whole answer."""
    return trigger_run(world.caller, TriggerCall(task=slug, **given), now=at or datetime.now(UTC))


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


class TestOneStatement:
    """The warm path."""

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"idempotencyKey": "k"},
            {"delay": "1h"},
            {"tags": ["a"], "queue": {"name": "q"}, "concurrencyKey": "c", "region": REGION},
        ],
    )
    def test_a_warm_trigger_is_one_statement_in_autocommit(
        self, options: dict[str, Any], redis_url: str
    ) -> None:
        """One round trip writes everything: no BEGIN, no look-up before, none after."""
        world = make_world()
        headers = {"x-trigger-request-idempotency-key": "warm"}
        json_of(world.api.post(TRIGGER, {"options": {}}))
        with CaptureQueriesContext(connection) as captured:
            answer = world.api.send("POST", TRIGGER, {"options": options}, headers=headers)
        assert connection.get_autocommit()
        assert captured.captured_queries == []  # nothing went through Django's own cursors
        assert states_of(json_of(answer)["id"])[0] in {"QUEUED", "DELAYED"}

    @pytest.mark.django_db(transaction=True)
    def test_the_database_sees_one_statement(self, redis_url: str) -> None:
        """PostgreSQL itself counts one transaction and one call for a warm trigger."""
        world = make_world()
        world.trigger()
        before = _commits()
        for _ in range(20):
            world.trigger(idempotency_key=None)
        # The count before and after are themselves a transaction each.
        assert _commits() - before in range(20, 24)

    def test_a_cached_hit_is_one_more_look(self, world: World) -> None:
        """A live key costs the statement and one query for who holds it; nothing is written."""
        first = call(world, idempotency_key="k")
        with CaptureQueriesContext(connection) as captured:
            again = call(world, idempotency_key="k", tags=("other",), slug="hello")
        assert again == Triggered(first.run_id, is_cached=True)
        assert len(captured.captured_queries) == 1
        assert rows_of("SELECT count(*) FROM runs_taskrun") == [(1,)]


def _commits() -> int:
    """Give how many transactions this database has committed, this session's included."""
    connection.ensure_connection()
    rows_of("SELECT pg_stat_force_next_flush()")
    rows_of("SELECT pg_stat_clear_snapshot()")
    ((count,),) = rows_of(
        "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(count)


class TestKeys:
    """Idempotency, of the task and of the request."""

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.fault(
        kills="nothing: fifty triggers with one key at one moment",
        step="triggering",
        expects="one run, which all of them are told",
    )
    def test_fifty_callers_with_one_key_make_one_run(self, redis_url: str) -> None:
        """Whoever comes first makes the run, all others get it as cached."""
        world = make_world()
        caller = world.caller
        given = TriggerCall(task="hello", idempotency_key="k")
        made = race(50, lambda _: trigger_run(caller, given, now=datetime.now(UTC)))
        assert len({one.run_id for one in made}) == 1
        assert [one.is_cached for one in made].count(False) == 1
        assert rows_of("SELECT count(*) FROM runs_taskrun") == [(1,)]
        check_books()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.fault(
        kills="an answer of the platform is lost",
        step="trigger to queued",
        expects="the same request key gets the same run",
    )
    def test_a_repeated_request_is_one_run(self, redis_url: str) -> None:
        """The same request key gives the first run, which is not called cached."""
        world = make_world()
        caller = world.caller
        given = TriggerCall(task="hello", request_key="request-1")
        made = race(16, lambda _: trigger_run(caller, given, now=datetime.now(UTC)))
        assert (
            len(set(made) - {Triggered(made[0].run_id, is_cached=False, worker_queue=world.queue)})
            <= 1
        )
        assert len({one.run_id for one in made}) == 1
        assert not any(one.is_cached for one in made)

    def test_a_request_key_lasts_a_day(self, world: World) -> None:
        """A day later the same key is another request."""
        first = call(world, request_key="r", at=NOW)
        assert call(world, request_key="r", at=NOW + timedelta(hours=24)).run_id == first.run_id
        later = call(world, request_key="r", at=NOW + timedelta(hours=24, seconds=1))
        assert later.run_id != first.run_id

    def test_a_request_key_belongs_to_its_task_and_environment(self, world: World) -> None:
        """Another task, and another environment, do not see it."""
        staging = world.in_environment(world.tenant, "stg")
        made = {
            call(world, request_key="r").run_id,
            call(world, slug="other", request_key="r").run_id,
            call(staging, request_key="r").run_id,
        }
        assert len(made) == 3

    def test_a_request_key_whose_run_was_never_made_is_in_nobodys_way(self, world: World) -> None:
        """A repeat of a cached call stays cached, and makes a run once the key is free."""
        first = call(world, idempotency_key="k")
        for _ in range(2):
            assert call(world, idempotency_key="k", request_key="r") == Triggered(
                first.run_id, is_cached=True
            )
        run_id, snapshot = world.started()
        world.complete(run_id, snapshot, failed(run_id, delay_ms=None))
        again = call(world, idempotency_key="k", request_key="r")
        assert (again.run_id != first.run_id, again.is_cached) == (True, False)

    def test_a_key_is_free_when_its_time_is_over(self, world: World) -> None:
        """A new run is made at the moment the lifetime ends, and the key is its own then."""
        first = call(world, idempotency_key="k", idempotency_key_ttl_s=60, at=NOW)
        early = call(world, idempotency_key="k", at=NOW + timedelta(seconds=59))
        assert early == Triggered(first.run_id, is_cached=True)
        later = call(world, idempotency_key="k", at=NOW + timedelta(seconds=60))
        assert later.run_id != first.run_id
        assert call(world, idempotency_key="k", at=NOW + timedelta(seconds=61)).is_cached

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("MAX_DURATION_EXCEEDED", "TIMED_OUT"),
            ("DISK_SPACE_EXCEEDED", "CRASHED"),
            ("COULD_NOT_FIND_TASK", "SYSTEM_FAILURE"),
            ("TASK_INPUT_ERROR", "COMPLETED_WITH_ERRORS"),
        ],
    )
    def test_failure_frees_the_key(self, world: World, code: str, status: str) -> None:
        """Every way to fail lets the same key make a new run."""
        first = world.trigger(idempotency_key="k")
        run_id, snapshot = world.started()
        world.complete(run_id, snapshot, internal(run_id, code))
        assert states_of(first) == ("FINISHED", status)
        assert world.trigger(idempotency_key="k") != first

    def test_success_and_cancel_keep_the_key(self, world: World) -> None:
        """A run that is done, or that somebody ended, still answers for its key."""
        done = world.trigger(idempotency_key="done")
        world.complete(*world.started())
        canceled = world.trigger(idempotency_key="canceled")
        cancel_run(environment_id=world.environment_id, run_id=canceled)
        assert world.trigger(idempotency_key="done") == done
        assert world.trigger(idempotency_key="canceled") == canceled

    def test_an_old_runs_failure_leaves_its_successors_key(self, world: World) -> None:
        """A key that passed on when its time was over is not freed by the run that had it."""
        old = call(world, idempotency_key="k", idempotency_key_ttl_s=0).run_id
        new = call(world, idempotency_key="k").run_id
        run_id, snapshot = world.started()
        world.complete(run_id, snapshot, failed(run_id, delay_ms=None))
        assert (run_id, call(world, idempotency_key="k").run_id) == (old, new)

    def test_huge_keys_work(self, world: World) -> None:
        """A key of the longest allowed length in any alphabet finds its run again."""
        body = {
            "options": {
                "idempotencyKey": "\u4e2d" * 1024 + "".join(map(chr, range(0x4E00, 0x5200)))
            }
        }
        first = json_of(world.api.post(TRIGGER, body))
        assert json_of(world.api.post(TRIGGER, body)) == {"id": first["id"], "isCached": True}


class TestVersions:
    """Tasks that are not there yet, and versions that are named."""

    def test_an_unknown_task_waits_for_its_version(self) -> None:
        """It waits as PENDING_VERSION and is released with the version's queue, machine and ttl."""
        world = make_world(deployed=False)
        run_id = world.trigger("later")
        assert states_of(run_id) == ("RUN_CREATED", "PENDING_VERSION")
        assert (run_of(run_id).queue_name, run_of(run_id).first_queued_at) == ("task/later", None)
        assert (release_waiting_versions(), world.lease()) == (0, [])
        version = make_version(
            world.tenant, task("later", queue_name="shared", machine="large-1x", ttl_s=90)
        )
        assert (release_waiting_versions(), release_waiting_versions()) == (1, 0)
        run = run_of(run_id)
        assert (run.status, run.queue_name, run.ttl, run.ttl_s) == (
            "PENDING",
            "shared",
            "1m30s",
            90,
        )
        assert run.first_queued_at is not None
        message = world.lease_one()
        assert message.run.machine.name == "large-1x"
        assert message.backgroundWorker.version == version
        check_books()

    def test_what_the_call_said_stays(self) -> None:
        """Queue, machine and ttl of the call go before the version's."""
        world = make_world(deployed=False)
        run_id = world.trigger("later", queue="mine", machine="micro", ttl_s=10)
        make_version(world.tenant, task("later", queue_name="shared", machine="large-1x", ttl_s=90))
        release_waiting_versions()
        assert (run_of(run_id).queue_name, run_of(run_id).ttl_s) == ("mine", 10)
        assert world.lease_one().run.machine.name == "micro"

    def test_in_development_a_tasks_own_ttl_comes_with_its_version(self) -> None:
        """Ten minutes is what a run has there when neither the call nor the task says otherwise."""
        world = make_world(deployed=False, slug="dev")
        named, unnamed = world.trigger("named"), world.trigger("unnamed")
        make_version(world.tenant, task("named", ttl_s=90), task("unnamed"), slug="dev")
        release_waiting_versions()
        assert [run_of(run_id).ttl_s for run_id in (named, unnamed)] == [90, 600]

    def test_a_delay_is_waited_for_after_the_version(self) -> None:
        """A delayed run of an unknown task is released when both are there; its ttl counts then."""
        world = make_world(deployed=False)
        until = datetime.now(UTC) + timedelta(hours=1)
        run_id = world.trigger("later", delay_until=until)
        make_version(world.tenant, task("later"))
        assert release_waiting_versions() == 1
        assert (read_books().places[run_id], world.lease()) == (["delayed"], [])
        assert run_of(run_id).first_queued_at == until
        make_due(run_id)
        assert (release_due_runs(), world.lease_one().run.friendlyId) == (1, run_id)

    def test_a_task_that_is_gone_is_parked_when_taken(self, world: World) -> None:
        """A version without the task puts its waiting runs aside; the next one brings them back."""
        run_id = world.trigger()
        make_version(world.tenant, task("other"))
        assert world.lease() == []
        assert states_of(run_id) == ("RUN_CREATED", "PENDING_VERSION")
        check_books()
        make_version(world.tenant, task("hello"))
        release_waiting_versions()
        assert world.lease_one().run.friendlyId == run_id

    def test_a_task_that_just_arrived_is_found(self, world: World) -> None:
        """A trigger looks past its memory before it calls a task unknown."""
        world.trigger("brand-new")
        make_version(world.tenant, task("hello"), task("brand-new"))
        assert states_of(world.trigger("brand-new")) == ("QUEUED", "PENDING")

    def test_a_run_is_locked_to_the_version_it_names(self, world: World) -> None:
        """An old version is used although a newer one is current, unknown ones are refused."""
        (old,) = [v for (v,) in rows_of("SELECT version FROM deployments_backgroundworker")]
        make_version(world.tenant, task("hello"), task("new"))
        world.trigger(lock_to_version=old)
        assert world.lease_one().backgroundWorker.version == old
        for slug, version in (("hello", "20200101.1"), ("new", old), ("hello", "x\x7f")):
            with pytest.raises(Refused, match="lockToVersion"):
                world.trigger(slug, lock_to_version=version)

    def test_a_run_stays_with_the_version_it_was_taken_with(self, world: World) -> None:
        """A retry through the queue runs the same code, whatever is current by then."""
        world.trigger()
        message = world.lease_one()
        run_id = message.run.friendlyId
        snapshot = world.start(run_id, message.snapshot.friendlyId)
        make_version(world.tenant, task("other"))
        world.complete(run_id, snapshot, failed(run_id, delay_ms=0), force_queue=True)
        assert world.lease_one().backgroundWorker == message.backgroundWorker


class TestDelays:
    """Runs that wait for a time."""

    def test_a_delayed_run_is_taken_when_due(self, world: World) -> None:
        """Nobody gets it before; then it is queued, from then on its ttl counts."""
        until = datetime.now(UTC) + timedelta(hours=1)
        run_id = world.trigger(delay_until=until, priority_ms=5000)
        assert states_of(run_id) == ("DELAYED", "DELAYED")
        assert run_of(run_id).score == int(until.timestamp() * 1000) - 5000
        assert (release_due_runs(), world.lease()) == (0, [])
        make_due(run_id)
        assert (release_due_runs(), release_due_runs()) == (1, 0)
        assert states_of(run_id) == ("QUEUED", "PENDING")
        assert run_of(run_id).first_queued_at is not None
        assert world.lease_one().run.friendlyId == run_id
        check_books()


class TestRegions:
    """Where a run goes, and how that is named."""

    def test_a_label_and_a_group_name_the_same_geography(self, world: World) -> None:
        """Customers read the label, whichever of both they wrote; the run is in the group."""
        for region in (None, REGION, world.queue):
            run = run_of(world.trigger(region=region))
            assert (run.region, run.worker_queue, run.requested_region) == (
                REGION,
                world.queue,
                region,
            )

    def test_refused_regions_have_one_sentence(self, world: World) -> None:
        """Unknown, hidden and another project's region cannot be told apart, nothing is written."""
        make_worker_group(name="hidden-1", fields={"hidden": True, "region": "hidden-label"})
        other = make_world()
        make_worker_group(name="theirs", project_ref=other.tenant.project.ref)
        wanted = ["nowhere", "hidden-1", "theirs", f"{other.tenant.project.id}-theirs"]
        said = set()
        for region in wanted:
            answer = json_of(world.api.post(TRIGGER, {"options": {"region": region}}), 422)
            assert region in answer["error"]
            said.add(answer["error"].replace(region, "?"))
        assert len(said) == 1
        assert REGION in said.pop()
        assert rows_of("SELECT count(*) FROM runs_taskrun") == [(0,)]

    def test_a_label_names_the_group_of_the_lowest_priority(self, world: World) -> None:
        """Of several visible container groups of a region the first by priority, then name."""
        make_worker_group(name="b", fields={"region": "eu", "priority": 5})
        make_worker_group(name="a", fields={"region": "eu", "priority": 5})
        make_worker_group(name="first", fields={"region": "eu", "priority": 9})
        make_worker_group(
            name="vm", fields={"region": "eu", "priority": 1, "workload_type": "MICROVM"}
        )
        fresh = make_world()
        run = run_of(fresh.trigger(region="eu"))
        assert (run.region, run.worker_queue) == ("eu", "a")

    def test_a_group_without_label_is_named_by_its_queue(self, world: World) -> None:
        """Upstream shows the queue there, so we do."""
        make_worker_group(name="plain")
        run = run_of(make_world().trigger(region="plain"))
        assert (run.region, run.worker_queue, run.why) == ("plain", "plain", "no_label")

    def test_a_project_may_have_its_own_default_and_list(self, world: World) -> None:
        """The project's default is used without a region; what is not in its list is refused."""
        make_worker_group(name="eu-1", fields={"region": "eu"})
        fresh = make_world()
        set_project_routing(
            fresh.tenant.project,
            {"allowed_queues": ["eu-1"], "default_worker": "eu-1"},
            **ORIGIN,
        )
        empty_memory()
        assert run_of(fresh.trigger()).worker_queue == "eu-1"
        with pytest.raises(Refused, match="region"):
            fresh.trigger(region=REGION)

    def test_development_ignores_regions(self) -> None:
        """Its runs are in the environment's own queue, without a region, whatever was asked for."""
        world = make_world(slug="dev")
        run_id = world.trigger(region="nowhere")
        run = run_of(run_id)
        assert (run.worker_queue, run.region, run.why) == (
            world.environment_id,
            None,
            "development",
        )
        assert (run.ttl_s, run.ttl) == (600, "10m")
        assert "region" not in json_of(world.api.get(f"/api/v3/runs/{run_id}"))
        assert world.lease_one().run.friendlyId == run_id


class TestFamilies:
    """Runs that runs have started."""

    def test_a_child_knows_its_parents(self, world: World) -> None:
        """Depth, root and parent are set, and shown from both sides."""
        root = world.trigger()
        child = world.trigger(parent_run_id=root)
        grandchild = run_of(world.trigger(parent_run_id=child))
        assert (grandchild.depth, grandchild.parent_run_id, grandchild.root_run_id) == (
            2,
            child,
            root,
        )
        related = json_of(world.api.get(f"/api/v3/runs/{child}"))["relatedRuns"]
        assert (related["root"]["id"], related["parent"]["id"]) == (root, root)
        assert [one["id"] for one in related["children"]] == [grandchild.id]

    def test_a_parent_is_of_the_same_environment(self, world: World) -> None:
        """Another tenant's run is as unknown as none."""
        theirs = make_world().trigger()
        for parent in (theirs, "run_nothing"):
            body = {"options": {"parentRunId": parent}}
            json_of(world.api.post(TRIGGER, body), 404)


def _answer_of(api: ApiClient) -> HttpResponse:
    return api.post(TRIGGER, {"payload": {"a": 1}})


def test_the_answer_is_what_clients_expect(world: World) -> None:
    """The id, whether it is cached, and the claims a client signs a token with."""
    answer = _answer_of(world.api)
    body = json_of(answer)
    assert set(body) == {"id", "isCached"}
    assert body["isCached"] is False
    assert f'"read:runs:{body["id"]}"' in answer["x-trigger-jwt-claims"]
    assert "x-trigger-jwt-claims" in answer["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("slug", ["a/b", "ä b", "task.with-all_kinds:of"])
def test_a_task_id_may_have_any_characters(world: World, slug: str) -> None:
    """Ids come back as they were sent, slashes included."""
    from urllib.parse import quote

    made = json_of(world.api.post(f"/api/v1/tasks/{quote(slug, safe='')}/trigger", {}))
    assert run_of(made["id"]).task_slug == slug
