"""The pages of worker groups and of plans: what a save writes, and what it refuses."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from deployments.selectors import (
    find_group_by_token,
    get_routing,
    get_worker_group,
    list_worker_groups,
)
from deployments.worker_groups import record_heartbeat, update_worker_group
from flags.catalog import DEFAULT_GROUP
from flags.selectors import get_global_value
from ledger.selectors import current_revision
from tenants.selectors import get_organization
from tenants.services import update_organization
from tests.factories import NOW, ORIGIN, make_tenant, make_worker_group
from tests.operating import REASON, Staff, audit_after, fields_of, make_staff

if TYPE_CHECKING:
    from deployments.worker_groups import GroupFields

pytestmark = pytest.mark.django_db

GROUPS = "/admin/worker-groups/"
NEW = f"{GROUPS}new/"


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser."""
    return make_staff()


def give_history(group_id: str) -> None:
    """Mark a group as one that has run something, as the database does by itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE deployments_workerinstancegroup SET has_run_history = true WHERE id = %s",
            [group_id],
        )


def change(group_id: str, fields: GroupFields) -> None:
    """Change a group as somebody else would."""
    update_worker_group(group_id, fields, now=NOW, **ORIGIN)


def test_a_group_says_whether_it_is_live(staff: Staff) -> None:
    """A group that was just heard of is live, one that never was says so; the sentence counts."""
    live, _ = make_worker_group(name="north-1"), make_worker_group(name="south-1")
    record_heartbeat(group_id=live.id, name="supervisor-1", now=datetime.now(UTC))
    page = staff.page(GROUPS)
    assert "1 worker group of 2 live." in page
    assert "Never connected" in page


def test_a_new_group_shows_its_token_once(staff: Staff) -> None:
    """The token works, is on the page that answers, and on no page afterwards."""
    before = current_revision()
    fields = {
        **staff.form(NEW),
        "name": "north-1-next",
        "workload_type": "MICROVM",
        "region": "north-1",
        "priority": "50",
        "reason": REASON,
    }
    page = staff.send(NEW, fields, 200)
    (token,) = re.findall(r"tr_wgt_[0-9A-Za-z]+", page)
    group = find_group_by_token(token)
    assert group is not None
    assert (group.name, group.region, group.workload_type, group.priority) == (
        "north-1-next",
        "north-1",
        "MICROVM",
        50,
    )
    for path in (GROUPS, f"{GROUPS}{group.id}/", "/admin/audit/"):
        assert token not in staff.page(path)
    created = audit_after(before)[0]
    assert (created.key, created.reason, created.source) == ("created", REASON, "admin")


def test_a_group_of_one_project(staff: Staff) -> None:
    """With a project's ref the group is that project's own, and may be its default."""
    project = make_tenant().project
    fields = {**staff.form(NEW), "name": "own", "project": project.ref, "reason": REASON}
    staff.send(NEW, {**fields, "make_default": "on"}, 200)
    (group,) = list_worker_groups()
    assert group.row.project_id == project.id
    assert get_routing(project.id).default_group_id == group.row.id


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("name", "has space", 400),
        ("name", "", 400),
        ("name", "north-1", 409),
        ("region", "a,b", 400),
        ("priority", "low", 400),
        ("priority", "99999999999", 400),
        ("description", "x" * 201, 400),
        ("workload_type", "VM", 400),
        ("project", "proj_nothing", 400),
        ("reason", "", 400),
    ],
)
def test_a_wrong_field_is_named_and_no_group_is_made(
    staff: Staff, field: str, value: str, status: int
) -> None:
    """The error stands at its field, what was typed stays, and nothing is written."""
    make_worker_group(name="north-1")
    before = current_revision()
    good = {**staff.form(NEW), "name": "south-1", "description": "a place", "reason": REASON}
    page = staff.send(NEW, {**good, field: value}, status)
    wrong = page.partition("is-wrong")[2].partition("</div>")[0]
    assert f'name="{field}"' in wrong
    assert 'role="alert"' in wrong
    assert fields_of(page)[field] == value or field == "workload_type"
    assert current_revision() == before


def test_an_edit_writes_the_fields_that_were_changed(staff: Staff) -> None:
    """One audit row per changed field, also when another one was changed meanwhile."""
    group = make_worker_group(name="north-1", fields={"region": "north", "priority": 100})
    path = f"{GROUPS}{group.id}/"
    form = staff.form(path)
    change(group.id, {"description": "by somebody else"})
    before = current_revision()
    page = staff.send(path, {**form, "priority": "10", "hidden": "on", "reason": REASON}, 200)
    assert "The region north would no longer be available" in page
    assert current_revision() == before
    staff.send(path, fields_of(page), 303)
    assert sorted((row.key, row.old, row.new) for row in audit_after(before)) == [
        ("hidden", False, True),
        ("priority", 100, 10),
    ]
    assert get_worker_group(group.id).description == "by somebody else"


def test_a_stale_edit_is_refused_and_kept(staff: Staff) -> None:
    """A field that somebody else changed meanwhile is not overwritten without being seen."""
    group = make_worker_group(name="north-1", fields={"priority": 100})
    path = f"{GROUPS}{group.id}/"
    form = {**staff.form(path), "priority": "10", "reason": REASON}
    change(group.id, {"priority": 20, "description": "busy"})
    before = current_revision()
    page = staff.send(path, form, 409)
    assert "somebody else changed priority" in page
    assert current_revision() == before
    again = fields_of(page)
    assert (again["priority"], again["initial-priority"]) == ("10", "20")
    assert again["description"] == "busy"
    staff.send(path, again, 303)
    assert get_worker_group(group.id).row.priority == 10


def test_a_region_with_history_stays(staff: Staff) -> None:
    """The page says that the region is fixed, and a form that changes it is told why not."""
    group = make_worker_group(name="north-1", fields={"region": "north"})
    give_history(group.id)
    path = f"{GROUPS}{group.id}/"
    assert 'data-testid="fixed"' in staff.page(path)
    before = current_revision()
    for region in ("south", ""):
        page = staff.send(path, {**staff.form(path), "region": region, "reason": REASON}, 409)
        assert "that has run history cannot be changed" in page
    assert current_revision() == before
    assert get_worker_group(group.id).row.region == "north"


def test_a_missing_region_can_be_set(staff: Staff) -> None:
    """A group with history and without a label can be given one, which is why it is asked for."""
    group = make_worker_group(name="north-1")
    give_history(group.id)
    path = f"{GROUPS}{group.id}/"
    page = staff.send(path, {**staff.form(path), "region": "north", "reason": REASON}, 200)
    assert "The region north would become available: it means north-1." in page
    staff.send(path, fields_of(page), 303)
    assert get_worker_group(group.id).row.region == "north"


def test_a_group_becomes_the_default(staff: Staff) -> None:
    """The box makes a shared group the default of everyone, and leaves the audit of the flag."""
    make_worker_group(name="first")
    second = make_worker_group(name="second")
    before, path = current_revision(), f"{GROUPS}{second.id}/"
    staff.send(path, {**staff.form(path), "make_default": "on", "reason": REASON}, 303)
    assert get_global_value(DEFAULT_GROUP) == second.id
    assert [row.key for row in audit_after(before)] == [DEFAULT_GROUP]


def test_a_group_cannot_be_deleted(staff: Staff) -> None:
    """There is no way to delete a group, on its page or by a method."""
    group = make_worker_group(name="north-1")
    assert "delete" not in staff.page(f"{GROUPS}{group.id}/").partition('class="op"')[2].lower()
    staff.page(f"{GROUPS}{group.id}/delete/", 404)


def test_an_untouched_group_is_not_written(staff: Staff) -> None:
    """Sending the form as it was shown leaves no revision."""
    group = make_worker_group(name="north-1", fields={"region": "north", "hidden": True})
    path, before = f"{GROUPS}{group.id}/", current_revision()
    staff.send(path, {**staff.form(path), "reason": REASON}, 303)
    assert current_revision() == before


def test_a_plan_is_changed_with_a_reason(staff: Staff) -> None:
    """The plan and one audit row are written; without a reason, neither."""
    organization = make_tenant(plan="free").organization
    path = f"/admin/organizations/{organization.id}/plan/"
    before = current_revision()
    asked = {**staff.form(path), "plan": "paid"}
    assert "Say why" in staff.send(path, asked, 400)
    assert "Select a valid choice" in staff.send(path, {**asked, "plan": "x", "reason": "y"}, 400)
    assert current_revision() == before
    staff.send(path, {**asked, "reason": REASON}, 303)
    assert get_organization(organization.id).organization.plan == "paid"
    (row,) = audit_after(before)
    assert (row.org, row.key, row.old, row.new) == (organization.id, "plan", "free", "paid")
    assert (row.actor, row.source) == (f"user:{staff.person.email}", "admin")


def test_a_plan_can_become_unknown(staff: Staff) -> None:
    """The empty choice stores that the plan is not known."""
    organization = make_tenant(plan="free").organization
    path = f"/admin/organizations/{organization.id}/plan/"
    staff.send(path, {**staff.form(path), "plan": "", "reason": REASON}, 303)
    assert get_organization(organization.id).organization.plan is None


def test_access_is_taken_and_given_back(staff: Staff) -> None:
    """One audit row each time, and the plan keeps its time: it was not touched."""
    organization = make_tenant(plan="free").organization
    path = f"/admin/organizations/{organization.id}/plan/"
    seen = []
    for choice in ("no", "yes"):
        before = current_revision()
        staff.send(path, {**staff.form(path), "access": choice, "reason": REASON}, 303)
        (row,) = audit_after(before)
        now = get_organization(organization.id).organization
        seen.append((row.key, row.new, now.has_access, now.plan_at == organization.plan_at))
    assert seen == [("hasAccess", False, False, True), ("hasAccess", True, True, True)]


def test_access_taken_meanwhile_is_no_matter_of_the_plan(staff: Staff) -> None:
    """A person who only changes the plan gives no access back that was taken since."""
    organization = make_tenant(plan="free").organization
    path = f"/admin/organizations/{organization.id}/plan/"
    asked = {**staff.form(path), "plan": "paid", "reason": REASON}
    update_organization(organization.id, {"has_access": False}, now=NOW, **ORIGIN)
    staff.send(path, asked, 303)
    now = get_organization(organization.id).organization
    assert (now.plan, now.has_access) == ("paid", False)


def test_access_that_somebody_changed_is_not_changed_back_unseen(staff: Staff) -> None:
    """The page says what holds, saves nothing, and takes the same choice when it is sent again."""
    organization = make_tenant(plan="free").organization
    path = f"/admin/organizations/{organization.id}/plan/"
    update_organization(organization.id, {"has_access": False}, now=NOW, **ORIGIN)
    asked = {**staff.form(path), "access": "yes", "reason": REASON}
    update_organization(organization.id, {"has_access": True}, now=NOW, **ORIGIN)
    update_organization(organization.id, {"has_access": False}, now=NOW, **ORIGIN)
    page = staff.send(path, asked, 409)
    assert get_organization(organization.id).organization.has_access is False
    staff.send(path, fields_of(page), 303)
    assert get_organization(organization.id).organization.has_access is True


def test_a_stale_plan_is_refused(staff: Staff) -> None:
    """A plan that somebody else changed meanwhile is shown, and not overwritten unseen."""
    organization = make_tenant(plan="free").organization
    path = f"/admin/organizations/{organization.id}/plan/"
    asked = {**staff.form(path), "plan": "paid", "reason": REASON}
    update_organization(organization.id, {"plan": "enterprise"}, now=NOW, **ORIGIN)
    before = current_revision()
    page = staff.send(path, asked, 409)
    assert "it is enterprise" in page
    assert current_revision() == before
    staff.send(path, fields_of(page), 303)
    assert get_organization(organization.id).organization.plan == "paid"
