"""What a deploy prepares is where a trigger goes: each reads the world its own way, both agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from deployments.models.versions import Deployment
from deployments.region_snapshot import REGIONS
from deployments.template_subjects import find_subject, read_world
from deployments.worker_groups import (
    RoutingChanges,
    record_heartbeat,
    set_project_routing,
    update_worker_group,
)
from flags.catalog import COMPUTE_ACCESS
from flags.ramps import Step
from flags.services import set_organization_flags
from flags.snapshot import GLOBAL_FLAGS
from tenants.services import update_organization
from tests.factories import NOW, ORIGIN, make_worker_group
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.ramping import FREE, HOUR_S, ON, started
from tests.running import REGION

if TYPE_CHECKING:
    from collections.abc import Callable

    from deployments.template_mode import TemplateDecision

pytestmark = pytest.mark.django_db

EU = "eu-west-1"


@pytest.fixture
def migrating(settings: Any) -> Migrating:
    """Give an organization that may be migrated in two regions, its version, and a gateway."""
    templates = replace(settings.ENV.templates, gateway_url="http://127.0.0.1:1")
    settings.ENV = replace(settings.ENV, templates=templates)
    made = make_migrating()
    make_worker_group(name="eu", fields={"region": EU})
    make_worker_group(name="eu-next", fields={"region": EU, "workload_type": "MICROVM"})
    return made


def by_ramp(made: Migrating, *, ago_s: float) -> None:
    """Let a ramp enroll everybody an hour after it began."""
    made.set_flags({ON: True})
    started(Step(0, HOUR_S), Step(100, HOUR_S), flag=FREE, ago_s=ago_s)


def of_plan(made: Migrating, plan: str | None) -> None:
    """Turn both dials up, and let the organization have this plan."""
    made.set_flags(EVERYONE)
    update_organization(made.organization_id, {"plan": plan}, now=NOW, **ORIGIN)


def routed(made: Migrating, changes: RoutingChanges) -> None:
    """Enroll the organization, and route its project."""
    made.override(value=True)
    set_project_routing(made.world.tenant.project, changes, **ORIGIN)


def forced_out(made: Migrating) -> None:
    """Turn both dials up, and keep the organization out of it."""
    made.set_flags(EVERYONE)
    made.override(value=False)


def entitled(made: Migrating) -> None:
    """Let an organization that is not enrolled name MicroVM groups."""
    set_organization_flags(made.organization_id, {COMPUTE_ACCESS: True}, **ORIGIN)


def hidden(made: Migrating) -> None:
    """Enroll the organization, whose region has no backing any more."""
    made.override(value=True)
    update_worker_group(made.backing_id, {"hidden": True}, now=NOW, **ORIGIN)


# What was done before, and the region that a trigger without one is swapped in.
SITUATIONS: dict[str, tuple[Callable[[Migrating], Any], str | None]] = {
    "nothing": (lambda made: None, None),
    "forced in": (lambda made: made.override(value=True), REGION),
    "both dials": (lambda made: made.set_flags(EVERYONE), REGION),
    "forced out": (forced_out, None),
    "paid": (lambda made: of_plan(made, "paid"), REGION),
    "enterprise": (lambda made: of_plan(made, "enterprise"), None),
    "no plan": (lambda made: of_plan(made, None), None),
    "a ramp, before its step": (lambda made: by_ramp(made, ago_s=0), None),
    "a ramp, after its step": (lambda made: by_ramp(made, ago_s=HOUR_S + 1), REGION),
    "its own default": (lambda made: routed(made, {"default_worker": "eu"}), EU),
    "a list without the default": (lambda made: routed(made, {"allowed_queues": ["eu"]}), REGION),
    "a list with the default": (
        lambda made: routed(made, {"allowed_queues": ["eu", made.world.queue]}), REGION,
    ),
    "entitled only": (entitled, None),
    "no backing": (hidden, None),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_trigger_finds_what_a_deploy_prepares(migrating: Migrating, name: str) -> None:
    """Whoever is swapped without naming a region is prepared for there, and nobody else is."""
    prepare, region = SITUATIONS[name]
    prepare(migrating)
    placed, decision = placement(migrating), decided(migrating)
    assert placed == region
    assert decision.is_migrated is (region is not None)
    assert region is None or decision.regions == (region,)


def test_whoever_names_a_region_needs_all_of_them(migrating: Migrating, settings: Any) -> None:
    """A trigger that names the other region is swapped there: prepared for when all regions are."""
    migrating.override(value=True)
    assert placement(migrating, region=EU) == EU
    assert decided(migrating).regions == (REGION,)
    everywhere = replace(settings.ENV.templates, all_regions=True)
    settings.ENV = replace(settings.ENV, templates=everywhere)
    assert decided(migrating).regions == (EU, REGION)


def placement(migrating: Migrating, **call: Any) -> str | None:
    """Trigger a run and give the region it is swapped in; None: it stays on containers."""
    GLOBAL_FLAGS.reload()
    REGIONS.reload()
    for row in REGIONS.current().rows:  # type: ignore[union-attr]
        record_heartbeat(group_id=row.id, name="s", now=datetime.now(UTC))
    migrating.beat()
    run = migrating.trigger(**call)
    return run.region if run.why == "migrated" else None


def decided(migrating: Migrating) -> TemplateDecision:
    """Give what a deploy of the current version would decide now."""
    deployment = Deployment.objects.get(environment_id=migrating.world.environment_id)
    subject = find_subject(deployment.id)
    assert subject is not None
    return read_world().decide(subject, image="image")
