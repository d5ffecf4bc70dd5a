"""Moving what waits: which runs go, where they go, and that nothing else of them changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deployments.region_snapshot import REGIONS
from deployments.worker_groups import RoutingChanges, set_project_routing, update_worker_group
from flags.services import set_organization_flags
from ledger.selectors import current_revision, list_audit
from rollout.moving import NOTHING, MovePreview, MoveWish, preview_move, preview_regions
from runs.reconcilers import release_due_runs, release_waiting_versions
from tenants.errors import Conflict, Refused
from tests.api_client import ApiClient, json_of
from tests.factories import NOW, ORIGIN, make_person, make_tenant, make_worker_group
from tests.migrating import Migrating, make_migrating
from tests.running import (
    REGION,
    change,
    check_books,
    empty_memory,
    failed,
    make_due,
    make_version,
    rows_of,
    run_of,
    task,
)

if TYPE_CHECKING:
    from django.http import HttpResponse

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

PATH = "/admin/api/v1/migration/move-queued"


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


@pytest.fixture
def migrating() -> Migrating:
    """Give an organization whose runs go to a live backing."""
    made = make_migrating()
    made.override(value=True)
    return made


def move(staff: ApiClient, to: str = "CONTAINER", **more: Any) -> HttpResponse:
    """Ask for a move."""
    return staff.post(PATH, {"region": REGION, "to": to, **more})


def test_waiting_runs_go_back_to_their_containers(staff: ApiClient, migrating: Migrating) -> None:
    """The queue, the lane and the reason change; all that customers see and all order stays."""
    before = [migrating.trigger(priority_ms=priority) for priority in (0, 5000, 0, 9000)]
    kept = ("region", "enrollment", "score", "priority_ms", "snapshot_id", "status", "queue_name")
    done = json_of(move(staff))
    assert done == {"count": 4, "moved": 4, "byQueue": {migrating.backing_queue: 4}}
    for run in before:
        after = run_of(run.id)
        assert (after.worker_queue, after.why) == (migrating.world.queue, "moved")
        assert [getattr(after, name) for name in kept] == [getattr(run, name) for name in kept]
    check_books()
    assert migrating.as_backing.lease() == []
    taken = [migrating.world.lease_one().run.friendlyId for _ in before]
    assert taken == [run.id for run in sorted(before, key=lambda run: (run.score, run.id))]
    check_books()


def test_the_move_takes_what_its_preview_counted(staff: ApiClient, migrating: Migrating) -> None:
    """A dry run answers as the move does, but for what was moved, and changes nothing."""
    run, revision = migrating.trigger(), current_revision()
    preview = json_of(move(staff, dryRun=True))
    assert preview == {"count": 1, "moved": 0, "byQueue": {migrating.backing_queue: 1}}
    assert (run_of(run.id).why, current_revision()) == ("migrated", revision)
    assert json_of(move(staff, dryRun=False)) == {**preview, "moved": 1}
    assert json_of(move(staff))["count"] == 0


def test_there_and_back(staff: ApiClient, migrating: Migrating) -> None:
    """Runs on containers go to the live backing, whoever is enrolled, and can come back."""
    migrating.override(value=None)
    run = migrating.trigger()
    assert (run.worker_queue, run.why) == (migrating.world.queue, "not_enrolled")
    assert json_of(move(staff, "MICROVM"))["byQueue"] == {migrating.world.queue: 1}
    over = run_of(run.id)
    assert (over.worker_queue, over.why, over.enrollment) == (
        migrating.backing_queue,
        "moved",
        "global_off",
    )
    assert json_of(move(staff))["moved"] == 1
    assert run_of(run.id).worker_queue == migrating.world.queue
    check_books()


def test_one_audit_row_says_what_was_moved(staff: ApiClient, migrating: Migrating) -> None:
    """Where they waited, where they went, how many, why and who; the runs name its revision."""
    runs = [migrating.trigger() for _ in range(3)]
    before = current_revision()
    staff.send(
        "POST",
        PATH,
        {"region": REGION, "to": "CONTAINER", "org": migrating.organization_id},
        headers={"x-reason": "the gateway burns", "x-request-id": "r-1"},
    )
    (row,) = [row for row in list_audit().rows if row.revision > before]
    assert (row.scope, row.key, row.org) == ("migration", "move-queued", migrating.organization_id)
    assert row.old == {migrating.backing_queue: 3}
    assert row.new == {
        "region": REGION,
        "to": "CONTAINER",
        "count": 3,
        "byQueue": {migrating.world.queue: 3},
    }
    assert (row.reason, row.request_id, row.actor[:6]) == ("the gateway burns", "r-1", "token:")
    assert {run_of(run.id).decided_revision for run in runs} == {row.revision}
    move(staff)
    assert current_revision() == row.revision  # nothing was left to be moved: no trace


def test_one_organizations_runs_only(staff: ApiClient, migrating: Migrating) -> None:
    """With `org` the others stay; an unknown one is 404."""
    other = migrating.world.in_environment(make_tenant())
    make_version(other.tenant, task())
    set_organization_flags(
        other.tenant.organization.id, {"computeMigrationEnabled": True}, **ORIGIN
    )
    stays, goes = other.trigger(), migrating.trigger()
    assert json_of(move(staff, org=migrating.organization_id))["moved"] == 1
    assert run_of(stays).worker_queue == migrating.backing_queue
    assert run_of(goes.id).worker_queue == migrating.world.queue
    json_of(move(staff, org="org_x"), 404)


@pytest.mark.parametrize("to", ["CONTAINER", "MICROVM"])
def test_all_regions_at_once_are_each_of_them(migrating: Migrating, to: str) -> None:
    """The overview says of every region what its own preview says, and counts once for all."""
    for number in range(5):
        make_worker_group(name=f"eu-{number}", fields={"region": f"eu-{number}"})
    REGIONS.reload()
    migrating.trigger()
    migrating.override(value=None)
    empty_memory()
    migrating.trigger()
    migrating.trigger(region="eu-1")
    with CaptureQueriesContext(connection) as asked:
        found = preview_regions(to)
    assert [one.region for one in found] == [*(f"eu-{number}" for number in range(5)), REGION]
    assert sum("runs_readyentry" in query["sql"] for query in asked.captured_queries) == 1
    for one in found:
        assert (one.preview, one.refusal) == alone(one.region, to)
    assert sum(one.preview.count for one in found) == 1


def alone(region: str, to: str) -> tuple[MovePreview, str]:
    """Preview one region."""
    try:
        return preview_move(MoveWish(region, to)), ""
    except (Conflict, Refused) as error:
        return NOTHING, str(error)


class TestWhatStays:
    """Runs that are never moved are not counted either."""

    def test_a_pinned_run(self, staff: ApiClient, migrating: Migrating) -> None:
        """Its customer chose the MicroVM group."""
        set_organization_flags(migrating.organization_id, {"hasComputeAccess": True}, **ORIGIN)
        pinned = migrating.trigger(region=migrating.backing_queue)
        assert pinned.why == "pinned"
        assert json_of(move(staff)) == {"count": 0, "moved": 0, "byQueue": {}}
        assert run_of(pinned.id).worker_queue == migrating.backing_queue

    def test_a_run_in_somebodys_hands(self, staff: ApiClient, migrating: Migrating) -> None:
        """A leased one, a running one, a canceled one and one that is over."""
        for _ in range(4):
            migrating.trigger()
        leased, running, canceled, over = migrating.as_backing.lease(count=4)
        world = migrating.as_backing
        for message in (running, canceled, over):
            world.start(message.run.friendlyId, message.snapshot.friendlyId)
        json_of(world.api.post(f"/api/v2/runs/{canceled.run.friendlyId}/cancel", {}))
        world.complete(over.run.friendlyId, run_of(over.run.friendlyId).snapshot_id)
        assert json_of(move(staff))["count"] == 0
        assert run_of(leased.run.friendlyId).worker_queue == migrating.backing_queue
        check_books()

    def test_a_run_with_a_checkpoint(self, staff: ApiClient, migrating: Migrating) -> None:
        """Only a MicroVM can go on from it; one that starts anew after it may be moved."""
        held, fresh = migrating.trigger(), migrating.trigger()
        for run, events in ((held, "start checkpoint unblock"), (fresh, "start checkpoint start")):
            for number, event in enumerate(events.split()):
                change(
                    "INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event,"
                    " description, is_valid, created_at) SELECT id, snapshot_id || %s, 'QUEUED',"
                    " 'PENDING', %s, '', true, now() FROM runs_taskrun WHERE id = %s",
                    str(number),
                    event,
                    run.id,
                )
            change("UPDATE runs_taskrun SET attempt_number = 1 WHERE id = %s", run.id)
        assert json_of(move(staff))["moved"] == 1
        assert run_of(held.id).worker_queue == migrating.backing_queue
        assert run_of(fresh.id).worker_queue == migrating.world.queue

    def test_development_and_other_regions(self, staff: ApiClient, migrating: Migrating) -> None:
        """A development run, a run elsewhere, and one of a project's own group."""
        tenant = migrating.world.tenant
        make_worker_group(name="eu-1", fields={"region": "eu-central-1"})
        make_worker_group(name="own", project_ref=tenant.project.ref, fields={"region": REGION})
        make_version(tenant, task(), slug="dev")
        REGIONS.reload()
        migrating.override(value=None)
        runs = [
            run_of(migrating.world.in_environment(tenant, "dev").trigger()),
            migrating.trigger(region="eu-1"),
            migrating.trigger(region="own"),
        ]
        assert json_of(move(staff, "MICROVM"))["count"] == 0
        assert [run_of(run.id).worker_queue for run in runs] == [run.worker_queue for run in runs]

    def test_who_is_forced_out_unless_named(self, staff: ApiClient, migrating: Migrating) -> None:
        """A move of a whole region does not bring them to MicroVMs; naming them does."""
        migrating.override(value=False)
        run = migrating.trigger()
        assert json_of(move(staff, "MICROVM"))["count"] == 0
        assert json_of(move(staff, "MICROVM", org=migrating.organization_id))["moved"] == 1
        assert json_of(move(staff))["moved"] == 1
        assert run_of(run.id).worker_queue == migrating.world.queue


class TestWhatWaitsElsewhere:
    """Runs that wait for a time or a version wait on a worker queue, too."""

    def test_a_delayed_run_comes_due_where_it_was_moved(
        self, staff: ApiClient, migrating: Migrating
    ) -> None:
        """It would otherwise be handed to the backing after it was switched off."""
        run = migrating.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1))
        assert json_of(move(staff))["moved"] == 1
        make_due(run.id)
        assert release_due_runs() == 1
        assert migrating.world.lease_one().run.friendlyId == run.id
        check_books()

    def test_a_run_that_backs_off_goes_along(self, staff: ApiClient, migrating: Migrating) -> None:
        """The next attempt of a failed run is made where it was moved."""
        migrating.trigger()
        run_id, snapshot_id = migrating.as_backing.started()
        migrating.as_backing.complete(
            run_id, snapshot_id, failed(run_id, delay_ms=60_000), force_queue=True
        )
        assert rows_of("SELECT run_id FROM runs_delayedentry") == [(run_id,)]
        assert json_of(move(staff))["moved"] == 1
        make_due(run_id)
        assert release_due_runs() == 1
        assert migrating.world.lease_one().run.friendlyId == run_id

    def test_a_run_without_version_is_released_where_it_was_moved(
        self, staff: ApiClient, migrating: Migrating
    ) -> None:
        """Its lane follows, also when the version brings a queue of its own."""
        run_id = migrating.world.trigger("later")
        assert json_of(move(staff))["moved"] == 1
        make_version(migrating.world.tenant, task("later", queue_name="q"))
        assert release_waiting_versions() == 1
        assert migrating.world.lease_one().run.friendlyId == run_id
        check_books()

    def test_the_group_that_takes_over_has_a_history(
        self, staff: ApiClient, migrating: Migrating
    ) -> None:
        """Also of runs that are not ready yet: its label may not change under them."""
        second = make_worker_group(name="a-first", fields={"region": REGION, "priority": 1})
        REGIONS.reload()
        migrating.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1), region="a-first")
        has = "SELECT has_run_history FROM deployments_workerinstancegroup WHERE id = %s"
        assert rows_of(has, second.id) == [(False,)]
        assert json_of(move(staff))["moved"] == 1
        assert rows_of(has, second.id) == [(True,)]


class TestWhereTheyGo:
    """The container group that a trigger of the same would start from now."""

    @pytest.fixture
    def second(self, migrating: Migrating) -> str:
        """Give a second container group of the region, which goes first."""
        make_worker_group(name="second", fields={"region": REGION, "priority": 1})
        REGIONS.reload()
        return "second"

    def test_the_group_that_was_asked_for(
        self, staff: ApiClient, migrating: Migrating, second: str
    ) -> None:
        """By its name that very one, by its label the first, without a wish the default."""
        asked: dict[str | None, str] = {
            second: second,
            migrating.world.queue: migrating.world.queue,
        }
        asked |= {REGION: second, None: migrating.world.queue}
        runs = {migrating.trigger(region=region).id: queue for region, queue in asked.items()}
        assert json_of(move(staff))["moved"] == 4
        assert {run_id: run_of(run_id).worker_queue for run_id in runs} == runs

    def test_only_a_group_that_the_project_may_use(
        self, staff: ApiClient, migrating: Migrating, second: str
    ) -> None:
        """A list of allowed queues holds for what is moved as well."""
        run = migrating.trigger(region=REGION)
        only: RoutingChanges = {"allowed_queues": [migrating.world.queue]}
        set_project_routing(migrating.world.tenant.project, only, **ORIGIN)
        json_of(move(staff))
        assert run_of(run.id).worker_queue == migrating.world.queue

    def test_a_project_that_may_use_none_keeps_its_runs(
        self, staff: ApiClient, migrating: Migrating, second: str
    ) -> None:
        """What has nowhere to go is not counted."""
        run = migrating.trigger(region=REGION)
        none: RoutingChanges = {"allowed_queues": [migrating.backing_queue]}
        set_project_routing(migrating.world.tenant.project, none, **ORIGIN)
        assert json_of(move(staff))["count"] == 0
        assert run_of(run.id).worker_queue == migrating.backing_queue

    def test_away_from_a_backing_that_is_hidden_or_silent(
        self, staff: ApiClient, migrating: Migrating
    ) -> None:
        """That is what the move is for."""
        migrating.trigger()
        update_worker_group(migrating.backing_id, {"hidden": True}, now=NOW, **ORIGIN)
        migrating.fall_silent(for_s=3600)
        assert json_of(move(staff))["moved"] == 1


class TestRefusals:
    """Where nothing can be moved to, staff are told why."""

    def test_to_a_backing_that_is_down(self, staff: ApiClient, migrating: Migrating) -> None:
        """Nothing goes to a group without a live supervisor: 409, also in a dry run."""
        migrating.fall_silent(for_s=31)
        for dry_run in (True, False):
            refused = move(staff, "MICROVM", dryRun=dry_run)
            assert migrating.backing_queue in json_of(refused, 409)["error"]
            assert refused["x-should-retry"] == "false"

    def test_to_a_region_without_backing(self, staff: ApiClient, migrating: Migrating) -> None:
        """No MicroVM group, none that is visible, no such region, no containers: 422."""
        make_worker_group(name="eu-1", fields={"region": "eu"})
        make_worker_group(name="vm", fields={"region": "asia", "workload_type": "MICROVM"})
        update_worker_group(migrating.backing_id, {"hidden": True}, now=NOW, **ORIGIN)
        said = {
            (region, to): json_of(move(staff, to, region=region), 422)["error"]
            for region, to in (
                ("eu", "MICROVM"),
                (REGION, "MICROVM"),
                ("mars", "CONTAINER"),
                ("asia", "CONTAINER"),
            )
        }
        assert "no backing" in said["eu", "MICROVM"]
        assert "no backing" in said[REGION, "MICROVM"]
        assert "asia, eu, us-east-1" in said["mars", "CONTAINER"]
        assert "no shared container group" in said["asia", "CONTAINER"]

    @pytest.mark.parametrize(
        ("body", "key"),
        [
            ({"to": "CONTAINER"}, "region"),
            ({"region": REGION}, "to"),
            ({"region": REGION, "to": "container"}, "to"),
            ({"region": REGION, "to": "CONTAINER", "dryRun": "yes"}, "dryRun"),
            ({"region": REGION, "to": "CONTAINER", "org": 5}, "org"),
            ({"region": "", "to": "CONTAINER"}, "region"),
            ({"region": REGION, "to": "CONTAINER", "all": True}, "all"),
        ],
    )
    def test_a_wrong_body(self, staff: ApiClient, body: object, key: str) -> None:
        """Nothing is coerced and the wrong field is named."""
        answer = json_of(staff.post(PATH, body), 400)
        assert [problem["key"] for problem in answer["problems"]] == [key]
