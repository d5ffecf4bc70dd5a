"""Deploys and their compute templates: off, in the shadow, and found by the reconciler."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

from deployments import hooks
from deployments.compute_templates import (
    CLAIMED_FOR,
    Trouble,
    claim_templates,
    free_ended_claims,
    record_failure,
    send_due_templates,
)
from deployments.models.templates import ComputeTemplate
from deployments.template_building import BUILD_TIMEOUT_S, build_templates
from deployments.template_reconcilers import (
    LOOKS_AHEAD_S,
    WhenChanged,
    repair_compute_templates,
    request_missing_templates,
)
from deployments.template_subjects import template_gateway
from flags.catalog import COMPUTE_ACCESS, MIGRATION_ENABLED
from flags.ramping import abort_ramp
from flags.ramps import Step
from flags.services import set_global_flags, set_organization_flags
from flags.snapshot import load_flag_snapshot
from ledger.selectors import current_revision
from tenants.services import update_organization
from tests.deploying import Author
from tests.factories import NOW, ORIGIN, make_tenant
from tests.migrating import EVERYONE
from tests.ramping import HOUR_S, started
from tests.running import change
from tests.templating import (
    REGION,
    author,
    build,
    call_back,
    deploying,
    due_now,
    enroll,
    gateway,
    in_shadow,
    rows,
    sent,
    states,
    status_of,
    tenant,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client
    from pytest_django import DjangoCaptureOnCommitCallbacks

    from tests.factories import Tenant
    from tests.fakes.template_gateway import TemplateGateway

__all__ = ["author", "gateway", "sent", "tenant"]

pytestmark = pytest.mark.django_db


# -- off ------------------------------------------------------------------------------------------


def test_without_migration_a_deploy_asks_for_nothing(
    author: Author, gateway: TemplateGateway
) -> None:
    """Nobody is enrolled: no template, no call, and the reconciler finds nothing to do."""
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    assert (rows(), gateway.requests) == ({}, [])
    assert request_missing_templates() == repair_compute_templates() == 0


# -- in the shadow --------------------------------------------------------------------------------


def test_shadow_deploys_at_once_and_builds_in_the_background(
    author: Author,
    tenant: Tenant,
    gateway: TemplateGateway,
    sent: list[tuple[str, str]],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """The deploy is done before anybody is asked; a job asks in the background, with a callback."""
    enroll(tenant)
    started = deploying(author)
    with django_capture_on_commit_callbacks(execute=True):
        assert author.finalize(started["id"]).status_code == 200
    assert status_of(started) == "DEPLOYED"
    assert gateway.requests == []
    assert states() == {"small-1x": "PENDING", "small-2x": "PENDING"}
    ((worker_id, region),) = sent
    assert region == REGION
    assert build_templates(template_gateway(), worker_id, region, background=True)
    (request,) = gateway.requests
    assert request["background"] is True
    assert (
        request["image"]
        == author.get(f"/api/v1/deployments/{started['id']}").json()["imageReference"]
    )
    assert request["machine_configs"] == [
        {"cpu": 0.5, "memory_gb": 0.5},
        {"cpu": 1.0, "memory_gb": 1.0},
    ]
    assert gateway.headers[0]["authorization"] == "Bearer gateway-token"
    assert states() == {"small-1x": "BUILDING", "small-2x": "BUILDING"}
    assert not build()


def test_gateway_is_told_an_image_without_its_digest(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """Tags never change what they name, so a template goes by the tag."""
    enroll(tenant)
    started = author.start()
    author.register(started["id"])
    digest = "sha256:" + "a" * 64
    assert author.finalize(started["id"], imageDigest=digest).status_code == 200
    shown = author.get(f"/api/v1/deployments/{started['id']}").json()["imageReference"]
    assert shown == f"{started['imageTag']}@{digest}"
    assert build()
    assert gateway.requests[0]["image"] == started["imageTag"]


@pytest.mark.fault(
    kills="a callback comes twice",
    step="its template is being built",
    expects="the second changes nothing and is answered alike",
)
def test_callback_makes_ready_once_and_takes_a_revision(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """A callback is recorded; the same again is answered alike and changes nothing."""
    in_shadow(author, tenant)
    revision = current_revision()
    assert call_back(author, gateway).json() == {"recorded": 2}
    assert states() == {"small-1x": "READY", "small-2x": "READY"}
    assert current_revision() == revision + 1
    finished = rows()["small-1x"].finished_at
    late = [{"machine_config": {"cpu": 0.5, "memory_gb": 0.5}, "error": "too late"}]
    for again in (call_back(author, gateway), call_back(author, gateway, results=late)):
        assert (again.status_code, again.json()) == (200, {"recorded": 0})
    assert (rows()["small-1x"].finished_at, current_revision()) == (finished, revision + 1)


def test_only_who_was_asked_may_call_back(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """Without a signature of ours nothing is recorded, and garbage with one is 400."""
    in_shadow(author, tenant)
    url, body = gateway.callbacks[0]
    path = url.removeprefix(settings.ENV.public_url)
    for token in ("", "?token=", "?token=claim_x", "?token=claim_x:sig", f"?token={path[-9:]}"):
        refused = author.client.post(
            path.partition("?")[0] + token, body, content_type="application/json"
        )
        assert refused.status_code == 403, token
    garbage = author.client.post(path, {"results": 1}, content_type="application/json")
    assert garbage.status_code == 400
    assert set(states().values()) == {"BUILDING"}
    secret = path.partition("=")[2]
    (stored,) = ComputeTemplate.objects.values_list("claim_sha256", flat=True).distinct()
    assert stored
    assert stored not in secret


@pytest.mark.fault(
    kills="a callback comes before the reply, which is cut",
    step="its template is being built",
    expects="what the callback said stays",
)
def test_callback_before_the_reply_counts(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """What the callback said stays, whatever becomes of the reply that comes after it."""
    enroll(tenant)
    started = deploying(author)
    author.finalize(started["id"])
    row = rows()["small-1x"]
    claim = claim_templates(row.worker_id, row.region)
    assert claim is not None
    template_gateway().ask(claim, background=True, timeout_s=5)
    assert call_back(author, gateway).json() == {"recorded": 2}
    cut = Trouble("the reply was cut", "no answer", may_pass=True)
    assert record_failure(claim.secret, cut) == 0
    assert set(states().values()) == {"READY"}


@pytest.mark.fault(
    kills="the gateway answers 500, 502, 503, 504 or garbage, or not at all",
    step="its template is being built",
    expects="the deploy is done; the template waits with the error and is built later",
)
@pytest.mark.parametrize("step", [500, 502, 503, 504, "drop", "garbage"])
def test_gateway_in_trouble_is_asked_again(
    author: Author, tenant: Tenant, gateway: TemplateGateway, step: int | str
) -> None:
    """Whatever may pass leaves the template waiting with its error, and a later attempt builds it."""
    gateway.script = [step]
    started = in_shadow(author, tenant)
    assert status_of(started) == "DEPLOYED"
    assert set(states().values()) == {"PENDING"}
    row = rows()["small-1x"]
    assert (row.attempts, row.claim_sha256) == (1, None)
    assert row.error
    assert len({row.next_attempt_at for row in rows().values()}) == 1  # so it is asked for at once
    assert not build()  # not before its pause is over
    due_now()
    assert build()
    call_back(author, gateway)
    assert rows()["small-1x"].error is None
    assert set(states().values()) == {"READY"}


@pytest.mark.parametrize("step", ["hang", "commit-drop"])
def test_answer_that_never_came_is_asked_for_again(
    author: Author, tenant: Tenant, gateway: TemplateGateway, step: str
) -> None:
    """In the background, too, silence and a lost answer are no end, and do not block the deploy."""
    gateway.script = [step]
    enroll(tenant)
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    row = rows()["small-1x"]
    assert build_templates(
        template_gateway(), row.worker_id, row.region, background=True, timeout_s=0.3
    )
    gateway.release.set()
    assert status_of(started) == "DEPLOYED"
    assert set(states().values()) == {"PENDING"}
    due_now()
    assert build()
    gateway.callbacks[:-1] = []
    assert call_back(author, gateway).json() == {"recorded": 2}
    assert set(states().values()) == {"READY"}


def test_gateway_that_says_no_is_not_asked_again(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """A refused request is given up at once, and a gateway in trouble after six attempts."""
    gateway.script = [400]
    in_shadow(author, tenant)
    assert set(states().values()) == {"FAILED"}
    assert "400" in (rows()["small-1x"].error or "")
    assert request_missing_templates() == 0
    due_now()
    assert repair_compute_templates() == 0


def test_attempts_end(author: Author, tenant: Tenant, gateway: TemplateGateway) -> None:
    """A gateway that stays in trouble is given up after some attempts; a new deploy asks anew."""
    gateway.script = [503] * 6
    in_shadow(author, tenant)
    for _ in range(5):
        due_now()
        assert build()
    assert set(states().values()) == {"FAILED"}
    due_now()
    assert not build()
    assert len(gateway.requests) == 6


GIVEN_UP_LONG_AGO = (
    "UPDATE deployments_computetemplate SET finished_at = now() - interval '5 minutes'"
)


def test_outage_longer_than_the_attempts_costs_time_only(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """A gateway that was away for long is asked again once it may be back, by nobody's hand."""
    gateway.script = ["drop"] * 6
    started = in_shadow(author, tenant)
    for _ in range(5):
        due_now()
        assert build()
    assert set(states().values()) == {"FAILED"}
    assert repair_compute_templates() == 0  # it was given up a moment ago
    change(GIVEN_UP_LONG_AGO)
    assert repair_compute_templates() == 2
    assert set(states().values()) == {"PENDING"}
    assert build(background=False)
    assert set(states().values()) == {"READY"}
    assert status_of(started) == "DEPLOYED"


@pytest.mark.parametrize("step", [400, {"0.5": "no kernel", "1.0": "no disk"}])
def test_what_was_refused_stays_given_up(
    author: Author, tenant: Tenant, gateway: TemplateGateway, step: int | dict[str, str]
) -> None:
    """The gateway understood and said no: only who deploys, or staff, asks it again."""
    gateway.script = [step]
    enroll(tenant)
    author.finalize(deploying(author)["id"])
    assert build(background=False)
    change(GIVEN_UP_LONG_AGO)
    assert repair_compute_templates() == 0
    assert set(states().values()) == {"FAILED"}


def test_versions_that_nobody_uses_are_not_asked_for_again(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """After an outage only the versions that runs use are caught up on."""
    gateway.script = ["drop"] * 2
    in_shadow(author, tenant)
    change("UPDATE deployments_computetemplate SET attempts = 5, next_attempt_at = now()")
    assert build()
    assert set(states().values()) == {"FAILED"}
    change(GIVEN_UP_LONG_AGO)
    change("DELETE FROM deployments_currentversion")
    assert repair_compute_templates() == 0
    assert set(states().values()) == {"FAILED"}


@pytest.mark.fault(
    kills="a message or a callback is lost",
    step="its template is being built",
    expects="the job is sent again, the claim ends, and it is built once more",
)
def test_lost_job_and_lost_callback_are_found(
    author: Author,
    tenant: Tenant,
    gateway: TemplateGateway,
    sent: list[tuple[str, str]],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """A message that got lost is sent again after a while; a claim that nobody answers ends."""
    enroll(tenant)
    author.finalize(deploying(author)["id"])
    assert send_due_templates(most=10) == 0  # it was sent a moment ago
    change("UPDATE deployments_computetemplate SET sent_at = now() - interval '31 seconds'")
    with django_capture_on_commit_callbacks(execute=True):
        assert repair_compute_templates() == 2
        assert repair_compute_templates() == 0
    assert len(sent) == 1
    assert build()
    assert free_ended_claims() == 0
    change("UPDATE deployments_computetemplate SET claimed_until = now()")
    assert free_ended_claims() == 2
    assert set(states().values()) == {"PENDING"}
    assert call_back(author, gateway).json() == {"recorded": 0}  # its claim is over
    due_now()
    assert build()
    gateway.callbacks.pop(0)
    assert call_back(author, gateway).json() == {"recorded": 2}


def test_broken_builder_fails_no_deploy(
    author: Author,
    tenant: Tenant,
    gateway: TemplateGateway,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """A job that cannot be sent, because the broker is down, leaves the deploy done."""

    def broken(_worker_id: str, _region: str) -> None:
        raise ConnectionError("the broker is down")

    before = list(hooks.templates_requested)
    hooks.templates_requested[:] = [broken]
    enroll(tenant)
    started = deploying(author)
    with django_capture_on_commit_callbacks(execute=True):
        assert author.finalize(started["id"]).status_code == 200
    hooks.templates_requested[:] = before
    assert status_of(started) == "DEPLOYED"
    assert set(states().values()) == {"PENDING"}


def test_templates_that_cannot_even_be_asked_for_fail_no_deploy(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """A shadow deploy is done in one commit, and a fault about its templates is only theirs."""
    enroll(tenant)
    started = deploying(author)
    change("ALTER TABLE deployments_computetemplate RENAME TO deployments_gone")
    assert author.finalize(started["id"]).status_code == 200
    change("ALTER TABLE deployments_gone RENAME TO deployments_computetemplate")
    assert status_of(started) == "DEPLOYED"
    assert request_missing_templates() == 1


# -- enrolled after the deploy --------------------------------------------------------------------


def hide_backing(*, hidden: bool) -> None:
    """Let the region have a backing, or not."""
    change(
        "UPDATE deployments_workerinstancegroup SET hidden = %s WHERE workload_type = 'MICROVM'",
        hidden,
    )


def enrolled_without_backing(tenant: Tenant) -> None:
    """Enroll an organization whose region has no backing yet."""
    hide_backing(hidden=True)
    enroll(tenant)


@pytest.mark.parametrize("how", ["override", "dial", "plan", "access", "group"])
def test_who_is_enrolled_later_gets_the_template_of_the_current_version(
    author: Author, tenant: Tenant, gateway: TemplateGateway, how: str
) -> None:
    """An override, a dial, a plan, an entitlement, a new backing: the reconciler builds for it."""
    hows: dict[str, Callable[[], Any]] = {
        "override": lambda: enroll(tenant),
        "dial": lambda: set_global_flags(EVERYONE, **ORIGIN),
        "plan": lambda: update_organization(
            tenant.organization.id, {"plan": "paid"}, now=NOW, **ORIGIN
        ),
        "access": lambda: set_organization_flags(
            tenant.organization.id, {COMPUTE_ACCESS: True}, **ORIGIN
        ),
        "group": lambda: hide_backing(hidden=False),
    }
    prepare: dict[str, Callable[[], Any]] = {
        "plan": lambda: set_global_flags(
            {MIGRATION_ENABLED: True, "computeMigrationPaidPercentage": 100}, **ORIGIN
        ),
        "group": lambda: enrolled_without_backing(tenant),
    }
    prepare.get(how, lambda: None)()
    author.finalize(deploying(author)["id"])
    assert request_missing_templates() == 0
    hows[how]()
    assert request_missing_templates() == 1
    assert request_missing_templates() == 0
    assert states() == {"small-1x": "PENDING", "small-2x": "PENDING"}
    assert build()
    call_back(author, gateway)
    assert set(states().values()) == {"READY"}


def test_a_step_of_a_ramp_finds_its_templates(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """Whoever a ramp enrolls soon is built for before, and whoever it enrolls later is not yet."""
    set_global_flags({MIGRATION_ENABLED: True}, **ORIGIN)
    author.finalize(deploying(author)["id"])
    nobody, all_of_them = Step(0, HOUR_S), Step(100, HOUR_S)
    later = started(nobody, all_of_them, ago_s=HOUR_S - LOOKS_AHEAD_S - 30)
    assert request_missing_templates() == 0
    abort_ramp(later.id, **ORIGIN)
    started(nobody, all_of_them, ago_s=HOUR_S - LOOKS_AHEAD_S + 30)
    assert request_missing_templates() == 1
    assert request_missing_templates() == 0
    assert {row.reason for row in rows().values()} == {"migrated"}
    assert rows()["small-1x"].status == "PENDING"
    assert load_flag_snapshot().value("computeMigrationFreePercentage", {}) == 0


def test_reconciler_rests_while_nothing_changes(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """It looks once for each revision of the ledger, and now and then: time moves dials too."""
    looked: list[int] = []

    def look() -> int:
        looked.append(current_revision())
        return 1

    now_s = [100.0]
    reconcile = WhenChanged(look, at_least_every_s=30, clock=lambda: now_s[0])
    assert [reconcile(), reconcile()] == [1, 0]
    enroll(tenant)
    assert [reconcile(), reconcile()] == [1, 0]
    now_s[0] += 29.9
    assert reconcile() == 0
    now_s[0] += 0.2
    assert [reconcile(), reconcile()] == [1, 0]
    assert len(looked) == 3


def test_other_tenants_versions_are_left_alone(
    author: Author, tenant: Tenant, gateway: TemplateGateway, client: Client
) -> None:
    """Only who is enrolled gets templates; a development version never does."""
    stranger = make_tenant()
    other = Author(client, stranger.keys["prod"])
    author.finalize(deploying(author)["id"])
    other.finalize(deploying(other)["id"])
    enroll(tenant)
    assert request_missing_templates() == 1
    (worker_id,) = set(ComputeTemplate.objects.values_list("worker_id", flat=True))
    assert ComputeTemplate.objects.filter(
        worker__environment_id=tenant.environments["prod"].id, worker_id=worker_id
    ).exists()


def test_claims_outlast_the_gateways_deadline() -> None:
    """Nobody takes a template over while its build may still be answered."""
    assert timedelta(seconds=BUILD_TIMEOUT_S) < CLAIMED_FOR
