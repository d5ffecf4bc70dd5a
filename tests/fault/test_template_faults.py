"""Deploys that wait for their templates, and what goes wrong meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deployments.compute_templates import claim_templates, request_templates
from deployments.deployment_lines import list_lines
from deployments.models.templates import ComputeTemplate
from deployments.template_subjects import find_subject, read_world, template_presets
from ledger.connections import release_connections
from tests.deploying import Author, events_in
from tests.running import change, race
from tests.templating import (
    REGION,
    author,
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

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def required(author: Author, tenant: Tenant) -> dict[str, Any]:
    """Give a deployment that has to wait for its templates."""
    enroll(tenant)
    require()
    return deploying(author)


@pytest.mark.fault(
    kills="a person cancels the deploy",
    step="deploying, while its templates are built",
    expects="it stays canceled and is never deployed",
)
def test_deploy_canceled_meanwhile_stays_canceled(
    author: Author, required: dict[str, Any], gateway: TemplateGateway
) -> None:
    """The end that came first stays, also when the templates are ready in the end."""
    answers: list[int] = []

    def cancel() -> None:
        path = f"/api/v1/deployments/{required['id']}/cancel"
        answers.append(author.post(path, {"reason": "not now"}).status_code)
        release_connections()

    gateway.on_request = [cancel]
    events = events_in(author.post(f"/api/v3/deployments/{required['id']}/finalize"))
    assert events[-1][0] == "error"
    assert events[-1][1]["status"] == 409
    assert list_lines(required["id"])[-1].text == "Canceled: not now"
    assert answers == [204]
    assert author.finalize(required["id"]).status_code == 409
    assert set(states().values()) == {"READY"}
    assert status_of(required) == "CANCELED"
    assert author.get("/api/v1/deployments/current").status_code == 404


@pytest.mark.fault(
    kills="two deploys of the same code race",
    step="deploying, while their templates are built",
    expects="each waits for its own version's, both are done, the newer one is current",
)
def test_two_deploys_of_one_digest_at_once(
    author: Author, required: dict[str, Any], gateway: TemplateGateway
) -> None:
    """Each version has its templates; the gateway knows their images by one content."""
    newer = deploying(author)
    answers = race(2, lambda one: author.finalize([newer, required][one]["id"]))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({request["image"] for request in gateway.requests}) == len(gateway.requests) == 2
    kept = ComputeTemplate.objects.values_list("worker_id", "digest", "status")
    assert len({worker_id for worker_id, _, _ in kept}) == 2
    assert len({(digest, status) for _, digest, status in kept}) == 1
    current = author.get("/api/v1/deployments/current").json()
    assert current["version"] == newer["version"]


@pytest.mark.fault(
    kills="two deploys of one version race",
    step="deploying, while its templates are built",
    expects="the gateway is asked once and both are answered",
)
def test_two_finalizes_at_once_build_once(
    author: Author, required: dict[str, Any], gateway: TemplateGateway
) -> None:
    """Whoever claims the templates builds them; the other waits for the same rows."""
    answers = race(2, lambda _: author.finalize(required["id"]))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(gateway.requests) == 1
    assert status_of(required) == "DEPLOYED"


@pytest.mark.fault(
    kills="the process that builds",
    step="deploying, while its templates are built",
    expects="the next finalize takes the build over once its claim has ended",
)
def test_build_of_a_killed_process_is_taken_over(
    author: Author, required: dict[str, Any], gateway: TemplateGateway
) -> None:
    """A claim that nobody answers any more ends by the database's clock, and another builds."""
    subject = find_subject(required["id"])
    assert subject is not None
    version = subject.version("image")
    decision = read_world().decide(subject, image="image")
    request_templates(version, decision, presets=template_presets(), again=True, announce=False)
    assert claim_templates(version.worker_id, REGION) is not None  # and then it was killed
    change(
        "UPDATE deployments_computetemplate SET claimed_until = now() + interval '300 milliseconds'"
    )
    assert author.finalize(required["id"]).status_code == 200
    assert len(gateway.requests) == 1
    assert set(states().values()) == {"READY"}


def test_stream_tells_what_takes_its_time(
    author: Author, required: dict[str, Any], gateway: TemplateGateway
) -> None:
    """The deployer reads that templates are built, which optional one is missing, and the end."""
    gateway.script = [{"1.0": "no disk"}]
    events = events_in(author.post(f"/api/v3/deployments/{required['id']}/finalize"))
    lines = [data["message"] for name, data in events if name == "log"]
    assert len(lines) == 4
    assert "small-1x, small-2x" in lines[1]
    assert "no disk" in lines[2]
    assert events[-1] == ("complete", {"id": required["id"]})


def test_stream_ends_with_the_reason_of_a_failure(
    author: Author, required: dict[str, Any], gateway: TemplateGateway
) -> None:
    """A deploy that cannot have its template ends with an error that names preset and reason."""
    gateway.script = [{"0.5": "no kernel"}]
    events = events_in(author.post(f"/api/v3/deployments/{required['id']}/finalize"))
    name, data = events[-1]
    assert name == "error"
    assert "small-1x: no kernel" in data["error"]
    assert status_of(required) == "FAILED"
