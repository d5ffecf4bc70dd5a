"""The explanation of a placement is the decision of a trigger, with its inputs beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from deployments.region_snapshot import LIVENESS, REGIONS
from deployments.worker_groups import update_worker_group
from flags.catalog import FREE_PERCENTAGE, MIGRATION_ENABLED
from flags.enrollment import bucket_of
from flags.services import set_organization_flags
from ledger.selectors import current_revision
from tenants.services import update_organization
from tests.api_client import ApiClient, json_of
from tests.factories import NOW, ORIGIN, make_person, make_worker_group
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.running import REGION, empty_memory, rows_of, run_of
from tests.web_process import ROOT, database_of_test

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


def path_of(made: Migrating, query: str = "environment=prod") -> str:
    """Give the path of the explanation."""
    return f"/admin/api/v1/orgs/{made.organization_id}/migration/explain?{query}"


def override(made: Migrating, *, on: bool) -> None:
    """Force the organization in or out."""
    set_organization_flags(made.organization_id, {MIGRATION_ENABLED: on}, **ORIGIN)


def change_backing(made: Migrating, **fields: Any) -> None:
    """Change the backing's worker group, in effect when this returns."""
    update_worker_group(made.backing_id, fields, now=NOW, **ORIGIN)  # type: ignore[arg-type]
    REGIONS.reload()


def set_plan(made: Migrating, plan: str | None) -> None:
    """Change the plan."""
    update_organization(made.organization_id, {"plan": plan}, now=NOW, **ORIGIN)


def silence(_made: Migrating) -> None:
    """Let the backing fall silent."""
    rows_of("UPDATE deployments_workerinstance SET last_heartbeat_at = %s RETURNING id", NOW)
    LIVENESS.reload()


def enroll_everyone(made: Migrating) -> None:
    """Switch the migration on with both dials at 100."""
    made.set_flags(EVERYONE)


def in_turn(*steps: Callable[[Migrating], None]) -> Callable[[Migrating], None]:
    """Give a function that does one thing after the other."""

    def do(made: Migrating) -> None:
        for step in steps:
            step(made)

    return do


SITUATIONS: dict[str, tuple[Callable[[Migrating], None], str, str]] = {
    "nothing set": (in_turn(), "global_off", "not_enrolled"),
    "everyone": (enroll_everyone, "in_percentage", "migrated"),
    "nobody": (
        lambda made: made.set_flags({**EVERYONE, FREE_PERCENTAGE: 0}),
        "out_of_percentage",
        "not_enrolled",
    ),
    "forced in": (lambda made: override(made, on=True), "override_on", "migrated"),
    "forced out": (
        in_turn(enroll_everyone, lambda made: override(made, on=False)),
        "override_off",
        "not_enrolled",
    ),
    "enterprise": (
        in_turn(enroll_everyone, lambda made: set_plan(made, "enterprise")),
        "plan_not_enrollable",
        "not_enrolled",
    ),
    "plan unknown": (
        in_turn(enroll_everyone, lambda made: set_plan(made, None)),
        "plan_not_enrollable",
        "not_enrolled",
    ),
    "backing hidden": (
        in_turn(enroll_everyone, lambda made: change_backing(made, hidden=True)),
        "in_percentage",
        "no_backing",
    ),
    "backing silent": (in_turn(enroll_everyone, silence), "in_percentage", "backing_down"),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_it_says_what_the_next_trigger_does(staff: ApiClient, name: str) -> None:
    """Queue, region, enrollment and reason are those of a run triggered right after."""
    made = make_migrating()
    bring_about, enrollment, why = SITUATIONS[name]
    bring_about(made)
    empty_memory()  # the caller of an earlier trigger would be dropped at commit
    said = json_of(staff.get(path_of(made)))
    run = run_of(made.world.trigger())
    assert (run.enrollment, run.why) == (enrollment, why)
    assert (said["enrollment"], said["why"]) == (enrollment, why)
    assert (said["queue"], said["region"]) == (run.worker_queue, run.region)
    assert said["enrolled"] is (enrollment in {"in_percentage", "override_on"})
    assert said["snapshot"]["revision"] == run.decided_revision


def test_every_input_is_named(staff: ApiClient) -> None:
    """Whoever reads it can follow the rule by hand."""
    made = make_migrating()
    made.set_flags({**EVERYONE, FREE_PERCENTAGE: 30})
    override(made, on=True)
    said = json_of(staff.get(path_of(made, f"environment=prod&region={REGION}")))
    organization = made.world.tenant.organization
    assert said.pop("snapshot")["ageMs"] >= 0
    assert said.pop("planAt").startswith("2026-11-22T12:00:00")
    assert said == {
        "organization": {"id": organization.id, "slug": organization.slug},
        "environment": {"id": made.world.environment_id, "type": "PRODUCTION", "slug": "prod"},
        "requestedRegion": REGION,
        "plan": "free",
        "override": True,
        "globalEnabled": True,
        "percentage": 30,
        "bucket": bucket_of(organization.id),
        "enrollment": "override_on",
        "enrolled": True,
        "baseQueue": made.world.queue,
        "queue": made.backing_queue,
        "region": REGION,
        "why": "migrated",
        "backing": {"queue": made.backing_queue, "live": True},
    }


def test_what_has_no_value_is_left_out(staff: ApiClient) -> None:
    """No plan: no dial; nothing overridden; no region asked for; no backing there."""
    made = make_migrating(plan=None)
    change_backing(made, hidden=True)
    said = json_of(staff.get(path_of(made)))
    unset = {"plan", "planAt", "override", "percentage", "requestedRegion", "backing"}
    assert unset.isdisjoint(said)
    assert said["globalEnabled"] is False


def test_a_dial_that_is_not_set_is_zero(staff: ApiClient) -> None:
    """The plan has one; and it is shown also while the migration is off."""
    made = make_migrating(plan="paid")
    assert json_of(staff.get(path_of(made)))["percentage"] == 0


def test_development_has_its_own_queue(staff: ApiClient) -> None:
    """No region, no base and no backing, whatever is asked for."""
    made = make_migrating()
    dev = made.world.tenant.environments["dev"].id
    said = json_of(staff.get(path_of(made, "environment=dev&region=mars")))
    assert (said["queue"], said["why"]) == (dev, "development")
    assert {"region", "baseQueue", "backing"}.isdisjoint(said)


def test_a_region_that_a_trigger_refuses_is_refused_alike(staff: ApiClient) -> None:
    """422 with the one sentence of every refused region; the backing's name needs access."""
    made = make_migrating()
    for region in ("mars", made.backing_queue):
        said = json_of(staff.get(path_of(made, f"region={region}")), 422)
        body = {"options": {"region": region}}
        assert json_of(made.world.api.post("/api/v1/tasks/hello/trigger", body), 422) == said


def test_the_name_of_a_microvm_group_pins(staff: ApiClient) -> None:
    """With access to it: its own queue, and no backing beside it."""
    made = make_migrating()
    set_organization_flags(made.organization_id, {"hasComputeAccess": True}, **ORIGIN)
    said = json_of(staff.get(path_of(made, f"region={made.backing_queue}")))
    assert (said["queue"], said["why"]) == (made.backing_queue, "pinned")
    assert "backing" not in said


def test_staging_is_explained_as_staging(staff: ApiClient) -> None:
    """Each environment of the organization can be asked about, unknown ones are 404."""
    made = make_migrating()
    make_worker_group()
    said = json_of(staff.get(path_of(made, "environment=stg")))
    assert said["environment"]["type"] == "STAGING"
    json_of(staff.get(path_of(made, "environment=moon")), 404)
    json_of(staff.get("/admin/api/v1/orgs/org_x/migration/explain"), 404)


def test_explaining_changes_nothing(staff: ApiClient) -> None:
    """No run, no revision."""
    made = make_migrating()
    before = current_revision()
    json_of(staff.get(path_of(made)))
    assert rows_of("SELECT count(*) FROM runs_taskrun") == [(0,)]
    assert current_revision() == before


COLD = """
import json, sys, django
django.setup()
from rollout.explain import explain
found = explain(sys.argv[1], environment_slug="prod", region=None)
print(json.dumps([found.placement, found.is_globally_enabled, found.percentage, found.revision,
                  found.snapshot_age_s, found.override]))
"""


@pytest.mark.django_db(transaction=True)
def test_a_cold_process_says_that_it_is_cold(postgres_url: str) -> None:
    """Before the first load nothing is known of everyone's flags; only an override counts."""
    made = make_migrating()
    enroll_everyone(made)
    override(made, on=False)
    done = subprocess.run(
        [sys.executable, "-c", COLD, made.organization_id],
        env={**os.environ, "DATABASE_URL": database_of_test(postgres_url)},  # noqa: TID251
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    placement, *known = json.loads(done.stdout)
    assert placement == [made.world.queue, REGION, "override_off", "no_label"]
    assert known == [None, None, None, None, False]
