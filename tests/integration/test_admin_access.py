"""Who may open the admin, and what its pages carry around them."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from deployments.staff_selectors import list_any_deployments
from ledger.selectors import list_audit
from tests.api_client import ApiClient
from tests.browsing import Shop, browser, make_shop, page_of
from tests.factories import make_person, make_worker_group
from tests.operating import make_staff
from tests.ramping import draft
from webapp.admin.site import POLICY, ROUTES

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


def every_page(shop: Shop) -> list[str]:
    """Give an address of every route of the admin."""
    ids = {
        "organization_id": shop.tenant.organization.id,
        "group_id": make_worker_group().id,
        "run_id": shop.trigger(),
        "deployment_id": list_any_deployments().rows[0].deployment.id,
        "audit_id": str(list_audit().rows[0].id),
        "ramp_id": draft(),
    }
    return [
        reverse(f"admin:{name}", args=[ids[key] for key in re.findall(r"<str:(\w+)>", route)])
        for route, _, name in ROUTES
    ]


def test_staff_open_every_page(shop: Shop) -> None:
    """Each page is there, with the policy that its layout needs and no more, and in no cache."""
    staff = make_staff()
    for path in every_page(shop):
        answer = staff.client.get(path)
        assert answer.status_code == 200, path
        assert answer["Content-Security-Policy"] == POLICY
        assert "no-store" in answer["Cache-Control"]
        assert answer["X-Frame-Options"] == "DENY"
        page = answer.content.decode()
        assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
        assert re.findall(r"\son[a-z]+=", page) == []


def test_everybody_else_is_kept_out_of_every_page(shop: Shop) -> None:
    """Whoever is not logged in is asked who they are; a member is told that it is for staff."""
    for path in every_page(shop):
        anonymous = browser().get(path)
        assert (anonymous.status_code, anonymous["Location"]) == (302, f"/login?next={path}")
        assert "This is for staff only" in page_of(browser(shop.person), path, status=403)


def test_nobody_writes_without_being_staff(shop: Shop) -> None:
    """A form of somebody else changes nothing, on any page."""
    for path in every_page(shop):
        member = browser(shop.person)
        member.get("/orgs")
        token = member.cookies.get("csrftoken")
        fields = {"csrfmiddlewaretoken": token.value if token else ""}
        assert member.post(path, fields).status_code == 403


def test_a_form_of_another_site_is_refused(shop: Shop) -> None:
    """A form without its token is refused, on every page that takes one."""
    staff = make_staff()
    for path in every_page(shop):
        assert staff.client.post(path, {"step": "apply"}).status_code == 403


def test_pages_to_read_take_no_forms(shop: Shop) -> None:
    """Runs and environments cannot be written, and no page takes a form that it does not show."""
    staff = make_staff()
    token = staff.form("/admin/flags/")["csrfmiddlewaretoken"]
    writable = (
        "/flags/",
        "/plan/",
        "/worker-groups/",
        "/kill/",
        "/move-queued/",
        "/audit/",
        "/ramps/",
        "/deployments/",
    )
    to_read = {
        "/admin/worker-groups/",
        "/admin/audit/",
        "/admin/ramps/",
        "/admin/deployments/",
    }
    for path in every_page(shop):
        if not any(part in path for part in writable) or path in to_read:
            answer = staff.client.post(path, {"csrfmiddlewaretoken": token})
            assert answer.status_code == 405, path
        assert staff.client.delete(path, headers={"x-csrftoken": token}).status_code == 405, path


def test_the_staff_api_lives_beside_the_pages() -> None:
    """What is below /admin/api/ answers machines in JSON, also where there is nothing."""
    api = ApiClient(make_person(is_staff=True).token)
    assert api.get("/admin/api/v1/orgs").status_code == 200
    for path in ("/admin/api/v1/nothing", "/admin/api/", "/admin/api"):
        answer = make_staff().client.get(path)
        assert answer.status_code == 404
    assert ApiClient().get("/admin/api/v1/nothing")["Content-Type"].startswith("application/json")


def test_ways_to_the_admin() -> None:
    """Its address without a slash, and the login it does not have, lead on; staff find a link."""
    staff = make_staff()
    assert staff.client.get("/admin")["Location"] == "/admin/"
    assert browser().get("/admin/login/")["Location"] == "/login?next=/admin/"
    assert 'href="/admin/"' in staff.page("/orgs")
    assert 'href="/admin/"' not in page_of(browser(make_person()), "/orgs")


def test_logging_out_is_a_form() -> None:
    """The log-out of the layout ends the session like the one of the other pages."""
    staff = make_staff()
    token = staff.form("/admin/flags/")["csrfmiddlewaretoken"]
    answer = staff.client.post("/admin/logout/", {"csrfmiddlewaretoken": token})
    assert (answer.status_code, answer["Location"]) == (303, "/login")
    assert staff.client.get("/admin/").status_code == 302


def test_what_is_not_there_is_not_found() -> None:
    """An unknown thing, and a page that the layout would have had, are 404."""
    staff = make_staff()
    for path in (
        "/admin/organizations/org_nothing/",
        "/admin/organizations/org_nothing/flags/",
        "/admin/worker-groups/wg_nothing/",
        "/admin/ramps/ramp_nothing/",
        "/admin/runs/run_nothing/",
        "/admin/deployments/deployment_nothing/",
        "/admin/password_change/",
        "/admin/auth/user/",
    ):
        assert "There is nothing here" in staff.page(path, 404)
