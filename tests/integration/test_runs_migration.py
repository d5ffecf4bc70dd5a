"""The migration at trigger time: flags and liveness decide, and customers see geography only."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from deployments.environment_entry import ENTRIES
from deployments.region_snapshot import LIVENESS, REGIONS
from deployments.worker_groups import RoutingChanges, set_project_routing, update_worker_group
from flags.services import set_organization_flags
from rollout.moving import MoveWish, move_queued
from runs.calls import TriggerCall
from runs.services.trigger import trigger_run
from tenants.services import update_organization
from tests.access_table import ROUTES, Door
from tests.api_client import ApiClient, json_of
from tests.browsing import browser
from tests.factories import NOW, ORIGIN, make_person, make_worker_group
from tests.migrating import Migrating, make_migrating
from tests.running import REGION, Supervisor, World, make_world, run_of

if TYPE_CHECKING:
    from runs.selectors import RunView

pytestmark = pytest.mark.django_db(transaction=True)

ON = "computeMigrationEnabled"
FREE = "computeMigrationFreePercentage"
PAID = "computeMigrationPaidPercentage"
SECRET_NAME = "quasar-backing"


@pytest.fixture
def migration() -> Migrating:
    """Give a container group with a live MicroVM group of the same label, under the secret name."""
    return make_migrating(backing=SECRET_NAME)


class TestWhereRunsGo:
    """What each setting does to the next run."""

    def test_without_flags_nothing_moves(self, migration: Migrating) -> None:
        """A region with a live backing changes nothing by itself."""
        run = migration.trigger()
        assert (run.worker_queue, run.region) == (migration.world.queue, REGION)
        assert (run.enrollment, run.why) == ("global_off", "not_enrolled")

    def test_an_override_moves_the_next_run_and_back(self, migration: Migrating) -> None:
        """True, false and unset take effect at once, in this process."""
        seen = []
        for value in (True, False, True, None):
            migration.override(value=value)
            run = migration.trigger()
            seen.append((run.worker_queue, run.enrollment, run.why, run.region))
        home = migration.world.queue
        assert seen == [
            (SECRET_NAME, "override_on", "migrated", REGION),
            (home, "override_off", "not_enrolled", REGION),
            (SECRET_NAME, "override_on", "migrated", REGION),
            (home, "global_off", "not_enrolled", REGION),
        ]

    @pytest.mark.parametrize(
        ("plan", "flags", "enrollment", "why"),
        [
            ("free", {ON: True, FREE: 100}, "in_percentage", "migrated"),
            ("free", {ON: True, FREE: 0, PAID: 100}, "out_of_percentage", "not_enrolled"),
            ("free", {ON: False, FREE: 100}, "global_off", "not_enrolled"),
            ("paid", {ON: True, PAID: 100}, "in_percentage", "migrated"),
            ("paid", {ON: True, FREE: 100}, "out_of_percentage", "not_enrolled"),
            ("enterprise", {ON: True, FREE: 100, PAID: 100}, "plan_not_enrollable", "not_enrolled"),
            (None, {ON: True, FREE: 100, PAID: 100}, "plan_not_enrollable", "not_enrolled"),
        ],
    )
    def test_dials_by_plan(
        self,
        migration: Migrating,
        plan: str | None,
        flags: dict[str, Any],
        enrollment: str,
        why: str,
    ) -> None:
        """The plan the organization has at this moment chooses the dial."""
        update_organization(migration.organization_id, {"plan": plan}, now=NOW, **ORIGIN)
        migration.set_flags(flags)
        run = migration.trigger()
        assert (run.enrollment, run.why) == (enrollment, why)

    def test_the_dial_at_the_organizations_own_bucket(self, migration: Migrating) -> None:
        """At its bucket an organization is out, one above it is in."""
        bucket = migration.world.caller.organization.bucket
        migration.set_flags({ON: True, FREE: bucket})
        assert migration.trigger().enrollment == "out_of_percentage"
        migration.set_flags({FREE: bucket + 1})
        assert migration.trigger().enrollment == "in_percentage"

    def test_a_backing_that_fell_silent_is_not_used(self, migration: Migrating) -> None:
        """After the stale time runs stay on containers, with the next heartbeat they go over."""
        migration.override(value=True)
        migration.fall_silent(for_s=31)
        LIVENESS.reload()
        assert migration.trigger().why == "backing_down"
        migration.beat()
        assert migration.trigger().why == "migrated"

    def test_a_group_that_never_connected_is_not_live(self) -> None:
        """Without any supervisor there is nobody to run it."""
        world = make_world()
        make_worker_group(name="silent", fields={"workload_type": "MICROVM", "region": REGION})
        REGIONS.reload()
        LIVENESS.reload()
        set_organization_flags(world.tenant.organization.id, {ON: True}, **ORIGIN)
        run = run_of(world.trigger())
        assert (run.worker_queue, run.why) == (world.queue, "backing_down")

    def test_hiding_the_backing_is_the_regions_brake(self, migration: Migrating) -> None:
        """A hidden MicroVM group takes no more runs."""
        migration.override(value=True)
        update_worker_group(migration.backing_id, {"hidden": True}, now=NOW, **ORIGIN)
        REGIONS.reload()
        assert migration.trigger().why == "no_backing"

    def test_a_region_by_name_is_geography(self, migration: Migrating) -> None:
        """The label and the container group's name are both swapped; the wish is kept as given."""
        migration.override(value=True)
        for wanted in (REGION, migration.world.queue):
            run = migration.trigger(region=wanted)
            assert (run.worker_queue, run.region) == (SECRET_NAME, REGION)
            assert run.requested_region == wanted

    def test_a_chosen_microvm_group_is_pinned(self, migration: Migrating) -> None:
        """With compute access its name pins: not swapped, also when switched off."""
        organization_id = migration.organization_id
        set_organization_flags(organization_id, {"hasComputeAccess": True, ON: False}, **ORIGIN)
        run = migration.trigger(region=SECRET_NAME)
        assert (run.worker_queue, run.region, run.why) == (SECRET_NAME, REGION, "pinned")

    def test_each_reason_is_counted(self, migration: Migrating) -> None:
        """Operators see in the metrics how many runs went where, and why."""
        migration.override(value=True)
        labels = {"enrollment": "override_on", "why": "migrated"}
        name = "crossfade_runs_triggered_total"
        before = REGISTRY.get_sample_value(name, labels) or 0
        migration.trigger()
        assert REGISTRY.get_sample_value(name, labels) == before + 1

    def test_other_regions_stay(self, migration: Migrating) -> None:
        """An enrolled organization's runs in a region without backing stay there."""
        make_worker_group(name="eu-1", fields={"region": "eu-central-1"})
        REGIONS.reload()
        migration.override(value=True)
        run = migration.trigger(region="eu-central-1")
        assert (run.worker_queue, run.region, run.why) == ("eu-1", "eu-central-1", "no_backing")

    def test_development_is_never_migrated(self) -> None:
        """A development run stays in its environment's queue and has no region."""
        world = make_world(slug="dev")
        set_organization_flags(world.tenant.organization.id, {ON: True}, **ORIGIN)
        run = run_of(world.trigger())
        assert (run.worker_queue, run.region, run.why) == (
            world.environment_id,
            None,
            "development",
        )
        assert run.enrollment == "override_on"

    def test_routing_costs_no_query(self, migration: Migrating) -> None:
        """A warm trigger of an enrolled organization asks nothing beside its one statement."""
        migration.override(value=True)
        caller = migration.world.caller
        migration.world.trigger()
        with CaptureQueriesContext(connection) as queries:
            trigger_run(caller, TriggerCall(task="hello"), now=datetime.now(UTC))
        assert queries.captured_queries == []


class TestReplays:
    """A replay is decided anew, from the run's geography or the group that was chosen."""

    def test_a_replay_follows_the_flags_of_its_moment(self, migration: Migrating) -> None:
        """A migrated run replays on containers once its organization is out, and back."""
        migration.override(value=True)
        moved = migration.trigger()
        migration.override(value=False)
        again = self._replay(migration, moved.id)
        assert (again.worker_queue, again.region) == (migration.world.queue, REGION)
        migration.override(value=True)
        assert self._replay(migration, again.id).worker_queue == SECRET_NAME

    def test_a_pinned_run_replays_pinned(self, migration: Migrating) -> None:
        """The choice of a MicroVM group survives a replay."""
        organization_id = migration.organization_id
        set_organization_flags(organization_id, {"hasComputeAccess": True}, **ORIGIN)
        pinned = migration.trigger(region=SECRET_NAME)
        assert self._replay(migration, pinned.id).why == "pinned"

    def test_a_moved_run_replays_by_the_flags(self, migration: Migrating) -> None:
        """That staff moved the run says nothing about the next one."""
        migration.override(value=True)
        run = migration.trigger()
        move_queued(MoveWish(REGION, "CONTAINER"), **ORIGIN)
        assert run_of(run.id).why == "moved"
        assert self._replay(migration, run.id).why == "migrated"

    def test_a_run_pinned_by_its_projects_default_stays_there(self, migration: Migrating) -> None:
        """While it is the default without any gate, afterwards with compute access."""
        project = migration.world.tenant.project
        self._default(migration, SECRET_NAME)
        run = migration.trigger()
        assert (run.worker_queue, run.why) == (SECRET_NAME, "pinned")
        assert self._replay(migration, run.id).why == "pinned"
        make_worker_group(name="eu-1", fields={"region": "eu-central-1"})
        REGIONS.reload()
        self._default(migration, "eu-1")
        path = f"/api/v1/runs/{run.id}/replay"
        refused = json_of(migration.world.api.post(path, {}), 422)["error"]
        assert refused.endswith("Available regions: eu-central-1, us-east-1.")
        set_organization_flags(migration.organization_id, {"hasComputeAccess": True}, **ORIGIN)
        again = self._replay(migration, run.id)
        assert (again.worker_queue, again.why) == (SECRET_NAME, "pinned")
        assert project.id == again.project_id

    def test_a_run_of_the_projects_own_group_stays_there(self, migration: Migrating) -> None:
        """Its label would mean a shared group of the same place."""
        project = migration.world.tenant.project
        make_worker_group(name="own", project_ref=project.ref, fields={"region": REGION})
        REGIONS.reload()
        migration.override(value=True)
        self._default(migration, "own")
        run = migration.trigger()
        assert (run.worker_queue, run.region) == (f"{project.id}-own", REGION)
        assert self._replay(migration, run.id).worker_queue == run.worker_queue
        self._default(migration, None)
        assert self._replay(migration, run.id).worker_queue == run.worker_queue

    def test_a_replay_that_cannot_be_names_the_reason(self, migration: Migrating) -> None:
        """A region that was taken away, and one that is given here: the sentence of a trigger."""
        migration.override(value=True)
        run = migration.trigger()
        make_worker_group(name="eu-1", fields={"region": "eu-central-1"})
        REGIONS.reload()
        only: RoutingChanges = {"allowed_queues": ["eu-1"]}
        set_project_routing(migration.world.tenant.project, only, **ORIGIN)
        ENTRIES.clear()
        path = f"/api/v1/runs/{run.id}/replay"
        said = json_of(migration.world.api.post(path, {}), 422)["error"]
        assert said == (f'The region "{REGION}" is not available. Available regions: eu-central-1.')
        assert json_of(migration.world.api.post(path, {"region": "eu-central-1"}))["id"]

    def _default(self, migration: Migrating, worker: str | None) -> None:
        project = migration.world.tenant.project
        set_project_routing(project, {"default_worker": worker}, **ORIGIN)
        ENTRIES.clear()

    def _replay(self, migration: Migrating, run_id: str) -> RunView:
        answer = json_of(migration.world.api.post(f"/api/v1/runs/{run_id}/replay", {}))
        return run_of(answer["id"])


class TestWhatCustomersSee:
    """The backing's name is on no customer surface, before, during and after a run."""

    def test_no_surface_names_the_backing(self, migration: Migrating) -> None:
        """Every address a customer can read, what writes answer, and what the task itself is told."""
        migration.override(value=True)
        world = migration.world
        made = world.api.post("/api/v1/tasks/hello/trigger", {"payload": 1})
        run_id = json_of(made)["id"]
        assert run_of(run_id).worker_queue == SECRET_NAME
        seen = {"trigger": made.content.decode() + str(made.headers)}
        seen |= self._crawl(world, run_id, "queued")
        seen |= self._write(world, run_id)
        message = migration.as_backing.lease_one()
        started = Supervisor(migration.as_backing).act(
            f"runs/{run_id}/snapshots/{message.snapshot.friendlyId}/attempts/start", {}
        )
        told = json_of(started)
        seen["execution"] = json.dumps(told["execution"])
        seen["environment variables"] = json.dumps(told.get("envVars", {}))
        seen |= self._crawl(world, run_id, "executing")
        migration.as_backing.complete(run_id, told["snapshot"]["friendlyId"])
        seen |= self._crawl(world, run_id, "finished")
        waiting = migration.trigger()
        for to in ("CONTAINER", "MICROVM"):
            move_queued(MoveWish(REGION, to, migration.organization_id), **ORIGIN)
            seen |= self._crawl(world, waiting.id, f"moved to {to}")
        leaks = [name for name, text in seen.items() if SECRET_NAME in text]
        assert leaks == []
        assert sum(REGION in text for text in seen.values()) > len(seen) / 4

    def test_filters_and_refusals_name_no_backing(self, migration: Migrating) -> None:
        """A filter by the backing finds nothing, a trigger for it is refused like any unknown."""
        migration.override(value=True)
        run = migration.trigger()
        api = migration.world.api
        by_region = f"/api/v1/runs?filter[region]={REGION}"
        assert [row["id"] for row in json_of(api.get(by_region))["data"]] == [run.id]
        by_backing = f"/api/v1/runs?filter[region]={SECRET_NAME}"
        assert json_of(api.get(by_backing))["data"] == []
        path, said = "/api/v1/tasks/hello/trigger", set()
        for region in (SECRET_NAME, "nonsense"):
            answer = json_of(api.post(path, {"options": {"region": region}}), 422)
            said.add(answer["error"].replace(region, "?"))
        assert len(said) == 1
        assert SECRET_NAME not in said.pop()

    def _write(self, world: World, run_id: str) -> dict[str, str]:
        """Do what a customer may do with a run and a project; give what is answered."""
        person = ApiClient(make_person(member_of=world.tenant.organization.id).token)
        default = f"/api/v1/projects/{world.tenant.project.ref}/default-region"
        answers = {
            "replay": world.api.post(f"/api/v1/runs/{run_id}/replay", {}),
            "replay there": world.api.post(f"/api/v1/runs/{run_id}/replay", {"region": REGION}),
            "replay elsewhere": world.api.post(f"/api/v1/runs/{run_id}/replay", {"region": "no"}),
            "tags": world.api.post(f"/api/v1/runs/{run_id}/tags", {"tags": ["a"]}),
            "reschedule": world.api.post(f"/api/v1/runs/{run_id}/reschedule", {"delay": "1h"}),
            "default region": person.put(default, {"region": REGION}),
            "no default region": person.put(default, {"region": "no"}),
        }
        for answer in answers.values():
            assert answer.status_code < 500
        for made in ("replay", "replay there"):
            replayed = json_of(answers[made])["id"]
            json_of(world.api.post(f"/api/v2/runs/{replayed}/cancel", {}))
        return {name: answer.content.decode() for name, answer in answers.items()}

    def _crawl(self, world: World, run_id: str, when: str) -> dict[str, str]:
        """Read every address that a key, a member's token or a member's session opens."""
        member = make_person(member_of=world.tenant.organization.id)
        readers: dict[Door, Any] = {
            Door.KEY: world.api,
            Door.PERSON: ApiClient(member.token),
            Door.PAGE: browser(member),
        }
        ids = self._ids(world, run_id)
        found = {}
        for route, known in ROUTES.items():
            method, _, path = route.partition(" ")
            if method != "GET" or known.door not in readers:
                continue
            filled = re.sub(r"\{(\w+)\}", lambda place: ids[place[1]], path)
            answer = readers[known.door].get(filled)
            assert answer.status_code < 400 or filled.endswith("/result"), filled
            found[f"{when} {filled}"] = b"".join(answer).decode() + str(answer.headers)
        return found

    def _ids(self, world: World, run_id: str) -> dict[str, str]:
        """Give what the places in the paths are filled with; a new one fails until it is here."""
        batch = json_of(world.api.post("/api/v3/batches", {"runCount": 1}), 202)
        (deployment, *_) = json_of(world.api.get("/api/v1/deployments"))["data"]
        (queue, *_) = json_of(world.api.get("/api/v1/queues"))["data"]
        replay = {"action": "replay", "runIds": [run_id]}
        bulk = json_of(world.api.post("/api/v1/bulk-actions", replay))
        return {
            "run_id": run_id,
            "batch_id": batch["id"],
            "deployment_id": deployment["id"],
            "queue": queue["id"],
            "queue_id": queue["id"],
            "bulk_action_id": bulk["id"],
            "ref": world.tenant.project.ref,
            "organization": world.tenant.organization.slug,
            "environment": world.slug,
        }
