"""Staff have the templates of a version built again: what is asked for, what is audited, what not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deployments.models.templates import ComputeTemplate
from ledger.selectors import changes_since, current_revision
from tests.api_client import ApiClient, json_of
from tests.deploying import Author
from tests.factories import make_person
from tests.operating import REASON, Staff, audit_after, make_staff
from tests.running import change
from tests.templating import (
    author,
    build,
    deploying,
    due_now,
    enroll,
    gateway,
    in_shadow,
    rows,
    states,
    tenant,
)

if TYPE_CHECKING:
    from tests.factories import Tenant
    from tests.fakes.template_gateway import TemplateGateway

__all__ = ["author", "gateway", "tenant"]

pytestmark = pytest.mark.django_db

GIVE_UP = (
    "UPDATE deployments_computetemplate SET status = 'FAILED', error = 'no disk', attempts = 6"
)
FINISH = (
    "UPDATE deployments_computetemplate SET status = 'READY', error = NULL, finished_at = now(),"
    " claim_sha256 = NULL, claimed_until = NULL"
)
GIVEN_UP = GIVE_UP + ", finished_at = now(), claim_sha256 = NULL, claimed_until = NULL"


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


@pytest.fixture
def version(author: Author, tenant: Tenant) -> dict[str, Any]:
    """Give a deployed version whose templates are asked for."""
    return in_shadow(author, tenant)


def rebuild(staff: ApiClient, deployment_id: str, status: int = 200, **body: Any) -> dict[str, Any]:
    """Call for a rebuild."""
    path = f"/admin/api/v1/deployments/{deployment_id}/templates/rebuild"
    return dict(json_of(staff.post(path, body), status))


def test_what_was_given_up_is_tried_again_and_audited_once(
    staff: ApiClient, version: dict[str, Any], gateway: TemplateGateway
) -> None:
    """Failed templates wait anew with their attempts forgotten; one row says what was and what is."""
    change(GIVEN_UP)
    before = current_revision()
    done = rebuild(staff, version["id"])
    assert done["asked"] == 2
    assert [(one["preset"], one["status"], one["attempts"]) for one in done["templates"]] == [
        ("small-1x", "PENDING", 0),
        ("small-2x", "PENDING", 0),
    ]
    (row,) = audit_after(before)
    assert (row.scope, row.key) == (f"deployment:{version['id']}", "templates")
    assert row.old == {"small-1x us-east-1": "FAILED", "small-2x us-east-1": "FAILED"}
    assert row.new == {"small-1x us-east-1": "PENDING", "small-2x us-east-1": "PENDING"}
    assert build(background=False)
    assert set(states().values()) == {"READY"}
    assert len(gateway.requests) == 2


def test_asking_twice_is_asking_once(staff: ApiClient, version: dict[str, Any]) -> None:
    """What waits, is being built or is ready is left alone; no row and no revision for that."""
    change(GIVEN_UP)
    rebuild(staff, version["id"])
    before = current_revision()
    assert rebuild(staff, version["id"])["asked"] == 0
    due_now()
    change(FINISH)
    assert rebuild(staff, version["id"])["asked"] == 0
    assert current_revision() == before
    assert set(states().values()) == {"READY"}


def test_what_is_being_built_goes_on(staff: ApiClient, version: dict[str, Any]) -> None:
    """A claim is not taken from whoever builds, not even for all of them."""
    assert set(states().values()) == {"BUILDING"}
    claims = {row.claim_sha256 for row in rows().values()}
    assert rebuild(staff, version["id"], includeReady=True)["asked"] == 0
    assert {row.claim_sha256 for row in rows().values()} == claims


def test_ready_ones_are_built_again_only_when_said(
    staff: ApiClient, version: dict[str, Any], tenant: Tenant
) -> None:
    """For a gateway that lost them; until then they count as not ready, everywhere at once."""
    change(FINISH)
    before = current_revision()
    done = rebuild(staff, version["id"], includeReady=True)
    assert (done["asked"], set(states().values())) == (2, {"PENDING"})
    assert len(audit_after(before)) == 1
    assert changes_since(before).touched == (("version", tenant.environments["prod"].id),)


def test_what_is_missing_is_added(staff: ApiClient, version: dict[str, Any]) -> None:
    """A preset that was configured after the deploy gets its row."""
    ComputeTemplate.objects.filter(preset="small-2x").delete()
    done = rebuild(staff, version["id"])
    assert (done["asked"], states()) == (1, {"small-1x": "BUILDING", "small-2x": "PENDING"})


def test_only_what_needs_templates_can_be_rebuilt(
    staff: ApiClient, author: Author, tenant: Tenant, version: dict[str, Any]
) -> None:
    """An unknown deployment is 404; one under way, and one that needs none, 409; nothing changes."""
    rebuild(staff, "deployment_x", 404)
    started = deploying(author)
    before, known = current_revision(), states()
    assert "deployed version" in rebuild(staff, started["id"], 409)["error"]
    enroll(tenant, value=None)
    assert "none" in rebuild(staff, version["id"], 409)["error"]
    assert (current_revision() - before, states()) == (1, known)


@pytest.mark.parametrize("body", [{"includeReady": "yes"}, {"includeReady": None}, {"all": True}])
def test_bodies_are_strict(staff: ApiClient, body: dict[str, Any]) -> None:
    """What cannot be meant is refused before anything is looked up."""
    rebuild(staff, "deployment_x", 400, **body)


class TestPage:
    """The same from the deployment's page."""

    def address(self, version: dict[str, Any]) -> str:
        """Give the page's address."""
        return f"/admin/deployments/{version['id']}/"

    def test_the_button_asks_with_a_reason(self, version: dict[str, Any]) -> None:
        """A form with a reason asks; the audit has who and why; the page shows what is coming."""
        staff: Staff = make_staff()
        change(GIVEN_UP)
        before = current_revision()
        form = staff.form(self.address(version))
        staff.send(self.address(version), form, 400)  # no reason
        staff.send(self.address(version), {**form, "reason": REASON}, 303)
        (row,) = audit_after(before)
        assert (row.actor, row.source, row.reason) == (
            f"user:{staff.person.email}",
            "admin",
            REASON,
        )
        page = staff.page(self.address(version))
        assert "2 templates will be built." in page
        assert "Pending" in page

    def test_it_is_not_offered_where_it_means_nothing(
        self, author: Author, version: dict[str, Any], tenant: Tenant
    ) -> None:
        """A deployment under way has no button; one that needs none says why when it is pressed."""
        staff = make_staff()
        form = staff.form(self.address(version))
        assert "Build templates again" not in staff.page(self.address(deploying(author)))
        enroll(tenant, value=None)
        refused = staff.send(self.address(version), {**form, "reason": REASON}, 409)
        assert "This version needs no templates: none." in refused
