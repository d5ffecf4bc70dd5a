"""Deploys that cannot do without their compute templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from deployments.deployment_errors import TemplateCreationFailed
from deployments.deployment_lines import list_lines
from deployments.deployment_views import EnvironmentScope
from deployments.finalizing import Finalize, finalize_with_templates
from deployments.models.templates import ComputeTemplate
from deployments.models.versions import Deployment
from deployments.template_views import count_current_templates
from flags.catalog import REQUIRE_TEMPLATE
from flags.services import set_global_flags
from tests.deploying import Author
from tests.factories import NOW, ORIGIN, make_worker_group
from tests.operating import make_staff
from tests.running import change
from tests.templating import (
    REGION,
    author,
    build,
    call_back,
    deploying,
    enroll,
    gateway,
    in_shadow,
    require,
    rows,
    states,
    status_of,
    tenant,
)
from webapp.template_metrics import TemplateCollector

if TYPE_CHECKING:
    from tests.factories import Tenant
    from tests.fakes.template_gateway import TemplateGateway

__all__ = ["author", "gateway", "tenant"]

pytestmark = pytest.mark.django_db


def test_required_deploy_waits_for_its_templates(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """The version becomes current only with its templates; one call, in the foreground, for all."""
    enroll(tenant)
    require()
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    assert (status_of(started), states()) == (
        "DEPLOYED",
        {"small-1x": "READY", "small-2x": "READY"},
    )
    (request,) = gateway.requests
    assert "background" not in request
    assert author.finalize(started["id"]).status_code == 200
    assert len(gateway.requests) == 1
    assert call_back(author, gateway).json() == {"recorded": 0}


def test_required_preset_that_cannot_be_built_fails_the_deploy(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """The deployment has failed, with the preset and the reason, and nothing became current."""
    enroll(tenant)
    require()
    gateway.script = [{"0.5": "no kernel", "1.0": "no disk"}]
    started = deploying(author)
    refused = author.finalize(started["id"])
    assert refused.status_code == 400
    assert "small-1x: no kernel" in refused.json()["error"]
    assert "small-2x" not in refused.json()["error"]
    error = Deployment.objects.get(id=started["id"]).error
    assert error is not None
    assert error["name"] == "TemplateCreationFailed"
    assert "small-1x: no kernel" in error["message"]
    assert status_of(started) == "FAILED"
    assert author.get("/api/v1/deployments/current").status_code == 404
    assert author.finalize(started["id"]).status_code == 409


def test_optional_preset_only_warns(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """A preset that is not required may be missing."""
    enroll(tenant)
    require()
    gateway.script = [{"1.0": "no disk"}]
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    assert states() == {"small-1x": "READY", "small-2x": "FAILED"}


@pytest.mark.parametrize("step", ["none", 400])
def test_required_deploy_fails_when_the_gateway_gives_nothing(
    author: Author, tenant: Tenant, gateway: TemplateGateway, step: str | int
) -> None:
    """Without a result for a required preset there is no deploy, whatever else was answered."""
    enroll(tenant)
    require()
    gateway.script = [step]
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 400
    assert status_of(started) == "FAILED"


def test_what_the_gateway_says_of_itself_is_for_operators(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """The body of an error may hold anything: an author reads what happened, staff read it all."""
    enroll(tenant)
    require()
    gateway.script = [400]
    started = deploying(author)
    told = author.finalize(started["id"]).json()["error"]
    assert told.endswith("small-1x: the service that prepares code answered with status 400")
    kept = author.get(f"/api/v1/deployments/{started['id']}").json()["errorData"]
    assert kept["message"] == told
    assert not any("scripted" in line.text for line in list_lines(started["id"]))
    page = make_staff().page(f"/admin/deployments/{started['id']}/")
    assert "Compute gateway request failed (400)" in page
    assert "scripted 400" in page


def test_credentials_in_an_error_are_kept_from_everybody(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """What a gateway says of the code is the author's to read, the password of an index is not."""
    enroll(tenant)
    require()
    gateway.script = [{"0.5": "no answer of https://user:hunter2@index.example/"}]
    refused = author.finalize(deploying(author)["id"])
    assert "index.example" in refused.json()["error"]
    assert "hunter2" not in refused.json()["error"]
    assert "hunter2" not in (rows()["small-1x"].error or "")


@pytest.mark.fault(
    kills="the gateway answers 5xx or garbage, or its answer is lost after the build",
    step="deploying, while its templates are built",
    expects="it is asked again while the deploy waits, and the deploy is done",
)
@pytest.mark.parametrize("step", [503, "garbage", "commit-drop"])
def test_required_deploy_outlives_a_passing_trouble(
    author: Author, tenant: Tenant, gateway: TemplateGateway, step: str | int
) -> None:
    """A failed attempt is repeated while the deploy waits, also when its answer was lost."""
    enroll(tenant)
    require()
    gateway.script = [step]
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    assert len(gateway.requests) == 2
    assert set(states().values()) == {"READY"}


def test_missing_artifact_is_said_before_anything_is_built(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """A deploy whose bytes are not here is refused as ever, and may be finalized later."""
    enroll(tenant)
    require()
    started = author.start(artifactKey="sha256:" + "0" * 64)
    author.register(started["id"])
    assert author.finalize(started["id"]).status_code == 422
    assert (gateway.requests, rows(), status_of(started)) == ([], {}, "DEPLOYING")


def test_native_project_requires_its_template(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """A project whose default is a MicroVM group has to have its template, enrolled or not."""
    group = make_worker_group(
        name="vm-only",
        fields={"workload_type": "MICROVM", "region": "sa-1"},
        project_ref=None,
    )
    change(
        "INSERT INTO deployments_projectrouting (project_id, default_group_id, allowed_queues)"
        " VALUES (%s, %s, '{}')",
        tenant.project.id,
        group.id,
    )
    gateway.script = [{"0.5": "no kernel"}]
    refused = author.finalize(deploying(author)["id"])
    assert refused.status_code == 400
    assert {row.region for row in ComputeTemplate.objects.all()} == {"sa-1"}
    assert {row.reason for row in ComputeTemplate.objects.all()} == {"microvm-native"}


def test_what_happened_is_counted(author: Author, tenant: Tenant, gateway: TemplateGateway) -> None:
    """Deploys by what was decided, attempts by their result, and the states of current versions."""

    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    failed = {"mode": "required", "reason": "migrated", "result": "failed"}
    built = {"mode": "required", "preset": "small-2x", "result": "built"}
    before = counted("crossfade_deploy_templates_total", **failed)
    attempts = counted("crossfade_compute_template_attempts_total", **built)
    enroll(tenant)
    require()
    gateway.script = [{"0.5": "no kernel"}]
    assert author.finalize(deploying(author)["id"]).status_code == 400
    assert counted("crossfade_deploy_templates_total", **failed) == before + 1
    assert counted("crossfade_compute_template_attempts_total", **built) == attempts + 1
    assert set(count_current_templates().values()) == {0}  # no version became current
    ComputeTemplate.objects.all().delete()
    set_global_flags({REQUIRE_TEMPLATE: False}, **ORIGIN)
    in_shadow(author, tenant)
    assert collected() == [
        ("PENDING", 0), ("BUILDING", 2), ("READY", 0), ("FAILED", 0), ("ratio", 0),
    ]  # fmt: skip
    change(
        "UPDATE deployments_computetemplate SET status = 'PENDING', claim_sha256 = NULL, claimed_until = NULL"
    )
    gateway.script = [{"1.0": "no disk"}]
    assert build(background=False)
    assert collected()[2:] == [("READY", 1), ("FAILED", 1), ("ratio", 0.5)]
    ComputeTemplate.objects.all().delete()
    assert collected()[3:] == [("FAILED", 0)]  # nothing is no share of nothing


def collected() -> list[tuple[str, float]]:
    """Give what Prometheus reads of the templates of current versions."""
    families = TemplateCollector().collect()
    return [(s.labels.get("status", "ratio"), s.value) for f in families for s in f.samples]


@pytest.mark.fault(
    kills="the gateway never answers",
    step="deploying, while its templates are built",
    expects="the deploy fails after five minutes and says so; nothing became current",
)
def test_gateway_that_does_not_answer_is_waited_for_so_long(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """When the time for building is over the deployment fails and says that no answer came."""
    enroll(tenant)
    require()
    gateway.script = ["hang"]
    started = deploying(author)
    wanted = Finalize(
        scope=EnvironmentScope(
            environment_id=tenant.environments["prod"].id,
            project_id=tenant.project.id,
            project_ref=tenant.project.ref,
            organization_id=tenant.organization.id,
        ),
        deployment_id=started["id"],
        skip_promotion=None,
        image_digest=None,
        actor="key:test",
        clock=lambda: NOW,
    )
    lines: list[str] = []
    with pytest.raises(TemplateCreationFailed, match="small-1x: no answer"):
        finalize_with_templates(wanted, report=lines.append, build_timeout_s=0.3)
    gateway.release.set()
    assert status_of(started) == "FAILED"
    assert "small-2x" in lines[-1]


def test_staff_see_what_a_deploy_waited_for(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """The page of a deployment shows each preset with its mode, its reason and its error."""
    enroll(tenant)
    require()
    gateway.script = [{"1.0": "<no disk>"}]
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    page = make_staff().page(f"/admin/deployments/{started['id']}/")
    for said in ("small-1x", "Ready", "small-2x", "Failed", "required, may be missing", "migrated"):
        assert said in page
    assert "&lt;no disk&gt;" in page
    assert f"required (migrated), {REGION}" in page
    enroll(tenant, value=False)
    assert "skip (none)" in make_staff().page(f"/admin/deployments/{started['id']}/")
    other = make_staff().page(f"/admin/deployments/{author.start(contentHash='other')['id']}/")
    assert "None were asked for." in other
