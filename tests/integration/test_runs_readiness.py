"""Runs that wait on containers until their code is ready on the other side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compute.contracts import TemplateCreateResponse
from deployments.compute_templates import (
    Presets,
    Version,
    claim_templates,
    record_results,
    request_templates,
)
from deployments.environment_entry import ENTRIES, entry_for
from deployments.models.versions import CurrentVersion
from deployments.template_mode import TemplateDecision, TemplateMode, TemplateReason
from rollout.explain import explain
from tests.batching import announce, item, upload
from tests.migrating import Migrating, make_migrating
from tests.running import REGION, make_version, rows_of, task

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db(transaction=True)

READY = "computeMigrationRequireReady"
SMALL = {"machine_config": {"cpu": 0.5, "memory_gb": 0.5}}


@pytest.fixture
def migration() -> Migrating:
    """Give an enrolled organization, its backing live, and runs that need a template."""
    made = make_migrating()
    make_version(made.world.tenant, task(), task("large", machine="large-1x"))
    made.override(value=True)
    made.set_flags({READY: True})
    return made


def build(migration: Migrating, *, region: str = REGION, worker_id: str | None = None) -> None:
    """Have the current version's template for small machines built in a region."""
    environment_id = migration.world.environment_id
    current = CurrentVersion.objects.get(environment_id=environment_id)
    version = Version(
        worker_id=worker_id or current.worker_id,
        environment_id=environment_id,
        image="image",
        digest=None,
    )
    decision = TemplateDecision(TemplateMode.SHADOW, TemplateReason.MIGRATED, (region,))
    presets = Presets(names=("small-1x",), required=frozenset())
    request_templates(version, decision, presets=presets, again=False)
    claim = claim_templates(version.worker_id, region)
    assert claim is not None
    answer = TemplateCreateResponse.model_validate({"results": [SMALL]})
    assert record_results(claim.secret, answer) == 1


def test_a_run_goes_over_once_its_template_is_ready(migration: Migrating) -> None:
    """Before, it stays and says so; the template's readiness is in effect with its revision."""
    before = migration.trigger()
    assert (before.worker_queue, before.region, before.why) == (
        migration.world.queue,
        REGION,
        "template_not_ready",
    )
    build(migration)
    after = migration.trigger()
    assert (after.worker_queue, after.region, after.why) == (
        migration.backing_queue,
        REGION,
        "migrated",
    )


def test_readiness_is_of_machine_region_and_version(migration: Migrating) -> None:
    """Another machine, another region or another version than the one built for does not count."""
    build(migration, region="elsewhere")
    assert migration.trigger().why == "template_not_ready"
    build(migration)
    old = entry_for(migration.world.environment_id).version
    assert migration.trigger(slug="large").why == "template_not_ready"
    assert migration.trigger(machine="large-1x").why == "template_not_ready"
    assert migration.trigger(slug="large", machine="small-1x").why == "migrated"
    make_version(migration.world.tenant)
    assert migration.trigger().why == "template_not_ready"
    assert migration.trigger(lock_to_version=old).why == "template_not_ready"
    build(migration)
    assert migration.trigger().why == "migrated"


def test_a_task_of_no_version_yet_waits_on_containers(migration: Migrating) -> None:
    """Nobody knows the version that will have the task, so nobody knows that it is ready."""
    build(migration)
    run = migration.trigger(slug="not-deployed-yet")
    assert (run.worker_queue, run.why) == (migration.world.queue, "template_not_ready")


def test_items_of_a_batch_are_decided_one_by_one(migration: Migrating) -> None:
    """Items of one region may have machines of which only one is ready."""
    build(migration)
    api = migration.world.api
    batch = announce(api, 3)
    items = [item(0), item(1, task="large"), item(2, options={"machine": "large-1x"})]
    assert upload(api, batch, items).status_code < 300
    whys = rows_of("SELECT task_slug, machine, why FROM runs_taskrun WHERE batch_id = %s", batch)
    assert set(whys) == {
        ("hello", None, "migrated"),
        ("large", None, "template_not_ready"),
        ("hello", "large-1x", "template_not_ready"),
    }


def test_the_explanation_says_the_same(migration: Migrating) -> None:
    """Explaining a default region names the missing template, and its arrival."""
    organization_id = migration.organization_id
    first = explain(organization_id, environment_slug="prod", region=None)
    build(migration)
    second = explain(organization_id, environment_slug="prod", region=None)
    assert (first.placement.why, second.placement.why) == ("template_not_ready", "migrated")


def test_without_the_flag_nothing_is_asked(
    migration: Migrating, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Readiness costs no query, required or not: it is in the memory a trigger reads anyway."""
    build(migration)
    migration.trigger()
    with django_assert_num_queries(0):  # the trigger's own statement is not counted
        migration.world.trigger()
    migration.set_flags({READY: False})
    ENTRIES.clear()
    make_version(migration.world.tenant)
    assert migration.trigger().why == "migrated"
    assert entry_for(migration.world.environment_id).ready == {}
