"""The whole life of a deployment over REST, and the story of its templates as a customer reads it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from deployments.deployment_lines import list_lines
from deployments.reconcilers import end_late_deployments
from deployments.template_reconcilers import request_missing_templates
from tests.browsing import browser, page_of
from tests.deploying import Author, digest_of
from tests.factories import make_person
from tests.running import change
from tests.templating import (
    REGION,
    author,
    build,
    deploying,
    enroll,
    gateway,
    require,
    states,
    status_of,
    tenant,
)

if TYPE_CHECKING:
    from tests.factories import Tenant
    from tests.fakes.template_gateway import TemplateGateway

__all__ = ["author", "gateway", "tenant"]

pytestmark = pytest.mark.django_db

ERROR = {"error": {"name": "BuildError", "message": "no room"}}
BACKING = f"{REGION}-next"
V1, V2, V3 = "/api/v1/deployments", "/api/v2/deployments", "/api/v3/deployments"


def lines_of(started: dict[str, Any]) -> list[str]:
    """Give the texts of a deployment's log."""
    return [line.text for line in list_lines(started["id"])]


def ended(author: Author, how: str) -> dict[str, Any]:
    """Bring a deployment with registered tasks to an end."""
    started = author.start()
    author.register(started["id"])
    if how == "DEPLOYED":
        author.finalize(started["id"])
    elif how == "TIMED_OUT":
        change(
            "UPDATE deployments_deployment SET created_at = created_at - interval '1 hour'"
            " WHERE id = %s", started["id"],
        )  # fmt: skip
        assert end_late_deployments() == 1
    else:
        path, body = {"FAILED": ("fail", ERROR), "CANCELED": ("cancel", {})}[how]
        author.post(f"{V1}/{started['id']}/{path}", body)
    assert author.get(f"{V1}/{started['id']}").json()["status"] == how
    return started


@pytest.mark.parametrize(
    ("how", "finalize", "fail", "cancel", "promote"),
    [
        ("DEPLOYED", 200, 409, 409, 200),
        ("FAILED", 409, 200, 409, 400),
        ("CANCELED", 409, 409, 204, 400),
        ("TIMED_OUT", 409, 409, 409, 400),
    ],
)
def test_what_is_over_stays_as_it_is(
    author: Author, how: str, finalize: int, fail: int, cancel: int, promote: int
) -> None:
    """Only the call that brought the end may be repeated; every other one is refused by name."""
    started = ended(author, how)
    path, said = started["id"], lines_of(started)
    assert author.post(f"{V2}/{path}/finalize", {}).status_code == finalize
    streamed = author.post(f"{V3}/{path}/finalize", {})
    assert streamed.status_code == finalize
    assert author.post(f"{V1}/{path}/fail", ERROR).status_code == fail
    assert author.post(f"{V1}/{path}/cancel", {}).status_code == cancel
    for call in ("progress", "start-building"):
        refused = author.post(f"{V1}/{path}/{call}", {})
        assert refused.status_code == 409
        assert how in refused.json()["error"]
    promoted = author.post(f"{V1}/{started['version']}/promote", {})
    assert promoted.status_code == promote
    assert author.get(f"{V1}/{path}").json()["status"] == how
    assert lines_of(started) == said


def test_the_latest_deployment_is_the_newest_one(
    author: Author, client: Client, tenant: Tenant
) -> None:
    """Whatever became of it, and of the caller's environment only; before the first one 404."""
    assert author.get(f"{V1}/latest").status_code == 404
    first = author.deploy()
    assert author.get(f"{V1}/latest").json()["id"] == first["id"]
    second = ended(author, "FAILED")
    latest = author.get(f"{V1}/latest").json()
    assert (latest["id"], latest["status"]) == (second["id"], "FAILED")
    assert author.get(f"{V1}/current").json()["id"] == first["id"]
    assert Author(client, tenant.keys["stg"]).get(f"{V1}/latest").status_code == 404


def test_how_long_a_deploy_may_take_is_set(author: Author, settings: Any) -> None:
    """`DEPLOY_TIMEOUT_MS` ends what is older, and says how long that was."""
    started = author.start()
    change("UPDATE deployments_deployment SET created_at = created_at - interval '9 minutes'")
    settings.ENV = replace(settings.ENV, deploy_timeout_ms=600_000)
    assert end_late_deployments() == 0
    settings.ENV = replace(settings.ENV, deploy_timeout_ms=120_000)
    assert end_late_deployments() == 1
    found = author.get(f"{V1}/{started['id']}").json()
    assert found["status"] == "TIMED_OUT"
    assert found["errorData"]["message"] == "The deployment was not finished within 2 minutes"
    assert lines_of(started)[-1] == "Timed out: nobody finished it"


def test_the_log_keeps_every_step(author: Author) -> None:
    """Each move stands in it once, with its reason, also when a call was repeated."""
    started = author.start(initialStatus="PENDING")
    for call in ("progress", "progress", "start-building"):
        assert author.post(f"{V1}/{started['id']}/{call}", {}).status_code == 204
    for _ in range(2):
        author.register(started["id"])
    for _ in range(2):
        author.post(f"{V1}/{started['id']}/cancel", {"reason": "not today"})
    assert lines_of(started) == [
        f"Version {started['version']} was begun",
        "Installing dependencies",
        "Building",
        "The tasks and queues are registered",
        "Canceled: not today",
    ]


# -- the story of docs/deployments.md --------------------------------------------------------------


def customer_reads(tenant: Tenant, started: dict[str, Any]) -> str:
    """Give what a member reads of a deployment; what they are not to know is not in it."""
    person = make_person(member_of=tenant.organization.id)
    path = f"/orgs/{tenant.organization.slug}/prod/deployments/{started['id']}"
    page = page_of(browser(person), path)
    main = page.partition("<main")[2].partition("</main>")[0]
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())
    assert BACKING not in page
    assert "template" not in text.lower()
    assert "microvm" not in text.lower()
    return text


def test_with_the_migration_off_nothing_is_prepared(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """The deploy is as it always was: no line more, and no gateway asked."""
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    assert "Preparing" not in customer_reads(tenant, started)
    assert (gateway.requests, states()) == ([], {})


def test_in_the_shadow_the_deploy_says_nothing_of_it(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """It is over at once; that the background builds, or fails to, is no concern of the customer's."""
    enroll(tenant)
    gateway.script = [{"0.5": "no kernel", "1.0": "no disk"}]
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    build()
    assert "Preparing" not in customer_reads(tenant, started)
    assert "is deployed, and new runs use it" in customer_reads(tenant, started)


def test_where_it_is_required_the_customer_reads_what_it_waits_for(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """The stream and the page have the same lines; a machine that may be missing is only told."""
    enroll(tenant)
    require()
    gateway.script = [{"1.0": "no disk"}]
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    text = customer_reads(tenant, started)
    for said in (
        "Preparing the code for small-1x, small-2x",
        "The code is not prepared for small-2x, and need not be: no disk",
        "The code is prepared",
        "Became the current version",
    ):
        assert said in text


def test_where_it_is_required_and_fails_the_customer_knows_what_to_do(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """The reason stands on the page, that runs go on as before, and that trying again may help."""
    current = author.deploy(artifactKey=author.upload())
    enroll(tenant)
    require()
    gateway.script = [{"0.5": "no kernel"}]
    started = author.start(artifactKey=digest_of(b"an archive of code"))
    author.register(started["id"])
    assert author.finalize(started["id"]).status_code == 400
    assert status_of(started) == "FAILED"
    text = customer_reads(tenant, started)
    assert "The code could not be prepared: small-1x: no kernel" in text
    assert f"Runs are not concerned: they go on with {current['version']}." in text
    assert "tell whoever runs this installation" in text


def test_who_is_enrolled_after_the_deploy_is_prepared_without_another(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """An override after the deploy: the reconciler builds for the version that runs use."""
    started = deploying(author)
    author.finalize(started["id"])
    before = customer_reads(tenant, started)
    enroll(tenant)
    request_missing_templates()
    assert set(states()) == {"small-1x", "small-2x"}
    build(background=False)
    assert set(states().values()) == {"READY"}
    assert lines_of(started)[-1].startswith("Became the current version")
    assert before.split("Facts")[0] == customer_reads(tenant, started).split("Facts")[0]
