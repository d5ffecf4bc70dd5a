"""An organization whose default region has a backing, and a gateway that builds templates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings

from compute.contracts import TemplateCreateResponse
from deployments import hooks
from deployments.compute_templates import (
    Presets,
    Version,
    claim_templates,
    record_results,
    request_templates,
)
from deployments.machines import PRESETS
from deployments.models.templates import ComputeTemplate
from deployments.models.versions import CurrentVersion, Deployment
from deployments.template_building import build_templates
from deployments.template_mode import TemplateDecision, TemplateMode, TemplateReason
from deployments.template_subjects import template_gateway
from flags.catalog import MIGRATION_ENABLED, REQUIRE_TEMPLATE
from flags.services import set_global_flags, set_organization_flags
from tests.deploying import Author
from tests.factories import ORIGIN, Tenant, make_tenant, make_worker_group
from tests.fakes.template_gateway import TemplateGateway
from tests.running import change

if TYPE_CHECKING:
    from collections.abc import Generator

    from django.test import Client

REGION = "us-east-1"


@pytest.fixture
def gateway(settings: Any) -> Generator[TemplateGateway, None, None]:
    """Give a scripted gateway that deploys use, for two presets of which one is required."""
    fake = TemplateGateway()
    templates = replace(
        settings.ENV.templates,
        gateway_url=fake.url,
        gateway_token="gateway-token",
        presets=("small-1x", "small-2x"),
        presets_required=("small-1x",),
    )
    settings.ENV = replace(settings.ENV, templates=templates)
    yield fake
    fake.close()


@pytest.fixture
def tenant(gateway: TemplateGateway) -> Tenant:
    """Give an organization whose default region has a backing."""
    make_worker_group(name=REGION, make_default=True, fields={"region": REGION})
    make_worker_group(name=f"{REGION}-next", fields={"region": REGION, "workload_type": "MICROVM"})
    return make_tenant()


@pytest.fixture
def author(tenant: Tenant, client: Client) -> Author:
    """Give who deploys to production."""
    return Author(client, tenant.keys["prod"])


@pytest.fixture
def sent() -> Generator[list[tuple[str, str]], None, None]:
    """Give what builders were told of after commits."""
    heard: list[tuple[str, str]] = []

    def hear(worker_id: str, region: str) -> None:
        heard.append((worker_id, region))

    before = list(hooks.templates_requested)
    hooks.templates_requested[:] = [hear]
    yield heard
    hooks.templates_requested[:] = before


def enroll(tenant: Tenant, *, value: bool | None = True) -> None:
    """Set the organization's own switch."""
    set_organization_flags(tenant.organization.id, {MIGRATION_ENABLED: value}, **ORIGIN)


def require() -> None:
    """Let deploys of migrated organizations wait for their templates."""
    set_global_flags({REQUIRE_TEMPLATE: True}, **ORIGIN)


def deploying(author: Author) -> dict[str, Any]:
    """Begin a deployment with an artifact, and register its tasks."""
    started = author.start(artifactKey=author.upload())
    assert author.register(started["id"]).status_code == 200
    return started


def rows() -> dict[str, ComputeTemplate]:
    """Give every template by its preset; the tests here have one version each."""
    return {row.preset: row for row in ComputeTemplate.objects.all()}


def states() -> dict[str, str]:
    """Give the state of every template by its preset."""
    return {preset: row.status for preset, row in rows().items()}


def status_of(started: dict[str, Any]) -> str:
    """Give where a deployment is."""
    return Deployment.objects.get(id=started["id"]).status


def build(*, background: bool = True) -> bool:
    """Do what a job does, for the one version there is."""
    row = next(iter(rows().values()))
    return build_templates(template_gateway(), row.worker_id, row.region, background=background)


def due_now() -> None:
    """Let the pauses of all templates be over."""
    change("UPDATE deployments_computetemplate SET next_attempt_at = now()")


def call_back(author: Author, gateway: TemplateGateway, **changes: Any) -> Any:
    """Call back as the gateway does; give the answer."""
    url, body = gateway.callbacks[0]
    path = url.removeprefix(django_settings.ENV.public_url)
    return author.client.post(path, {**body, **changes}, content_type="application/json")


def in_shadow(author: Author, tenant: Tenant) -> dict[str, Any]:
    """Deploy with a template in the shadow, and have the gateway asked for it."""
    enroll(tenant)
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    assert build()
    return started


def mark_ready(environment_id: str, *, preset: str = "small-1x", region: str = REGION) -> None:
    """Have a template of the current version built, as a gateway's answer does."""
    worker_id = CurrentVersion.objects.get(environment_id=environment_id).worker_id
    version = Version(
        worker_id=worker_id, environment_id=environment_id, image="image", digest=None
    )
    decision = TemplateDecision(TemplateMode.SHADOW, TemplateReason.MIGRATED, (region,))
    presets = Presets(names=(preset,), required=frozenset())
    request_templates(version, decision, presets=presets, again=False, announce=False)
    claim = claim_templates(worker_id, region)
    assert claim is not None
    machine = {"cpu": PRESETS[preset].cpu, "memory_gb": PRESETS[preset].memory}
    answer = TemplateCreateResponse.model_validate({"results": [{"machine_config": machine}]})
    assert record_results(claim.secret, answer) == 1
