"""Reverting a change: the value before comes back by a new change, or it is said why it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from deployments.deployment_views import EnvironmentScope
from deployments.promotion import promote_version
from deployments.queue_selectors import QueueRef, get_queue
from deployments.queues import LimitOverride, override_queue_limit, set_queue_paused
from deployments.selectors import get_routing, get_worker_group
from deployments.version_selectors import find_current_deployment
from deployments.worker_groups import (
    rotate_worker_group_token,
    set_project_routing,
    update_worker_group,
)
from flags.catalog import REQUIRE_READY
from flags.selectors import get_global_values, get_organization_values
from flags.services import set_global_flags, set_organization_flags
from ledger.selectors import AuditEntry, current_revision, list_audit
from ledger.services import verify_audit
from tenants.keys import create_environment_key, revoke_environment_key
from tenants.selectors import get_environment, get_organization, list_organizations
from tenants.services import (
    set_membership,
    set_password,
    update_environment,
    update_organization,
)
from tenants.words import Role
from tests.api_client import ApiClient, json_of
from tests.browsing import Shop, make_shop
from tests.factories import NOW, ORIGIN, Tenant, make_person, make_worker_group
from tests.operating import make_staff
from tests.running import change, make_version, task
from tests.undoing import undone

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpResponse

    from deployments.worker_groups import GroupFields

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

FREE = "computeMigrationFreePercentage"
ON = "computeMigrationEnabled"
ACCESS = "hasComputeAccess"
QUEUE = QueueRef("custom", "q")


class Things(NamedTuple):
    """One of everything that can be changed."""

    shop: Shop
    group_id: str
    member_id: str

    @property
    def tenant(self) -> Tenant:
        """The tenant."""
        return self.shop.tenant

    @property
    def organization_id(self) -> str:
        """The organization's id."""
        return self.tenant.organization.id

    @property
    def environment_id(self) -> str:
        """The production environment's id."""
        return self.tenant.environments["prod"].id

    @property
    def scope(self) -> EnvironmentScope:
        """The production environment."""
        return EnvironmentScope(
            environment_id=self.environment_id,
            project_id=self.tenant.project.id,
            project_ref=self.tenant.project.ref,
            organization_id=self.organization_id,
        )


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


@pytest.fixture
def things() -> Things:
    """Make one of everything, with values that can be gone back to."""
    shop = make_shop()
    group = make_worker_group(name="g", fields={"region": "eu", "priority": 7})
    made = Things(shop, group.id, make_person().id)
    make_version(shop.tenant, task(queue_name="q", queue_concurrency_limit=5))
    set_global_flags({FREE: 5}, **ORIGIN)
    return made


def revert(staff: ApiClient, row: AuditEntry, **headers: str) -> HttpResponse:
    """Revert a change."""
    path = f"/admin/api/v1/audit/{row.id}/revert"
    return staff.send("POST", path, {}, headers={**headers})


def last_row() -> AuditEntry:
    """Give the newest audit row."""
    return list_audit(limit=1).rows[0]


def role_of(things: Things) -> bool:
    """Tell whether the person is a member."""
    return bool(list_organizations(member_id=things.member_id).rows)


def version_of(things: Things) -> str | None:
    """Give the current version."""
    found = find_current_deployment(scope=things.scope)
    return None if found is None else found.version


GROUP_VALUES: dict[str, Any] = {
    "workload_type": "MICROVM",
    "region": "us",
    "hidden": True,
    "priority": 1,
    "description": "there",
    "location": "europe",
    "enable_fast_path": True,
}


def _group_change(
    name: str, new: Any
) -> tuple[Callable[[Things], object], Callable[[Things], Any]]:
    """Give how a field of the worker group is changed, and how it is read."""

    def make(things: Things) -> None:
        fields = cast("GroupFields", {name: new})
        update_worker_group(things.group_id, fields, now=NOW, **ORIGIN)

    def read(things: Things) -> Any:
        group = get_worker_group(things.group_id)
        return {**group.row._asdict(), **group._asdict()}[name]

    return make, read


# What is changed, how, and how it is read.
CHANGES: dict[str, tuple[Callable[[Things], object], Callable[[Things], Any]]] = {
    "a dial": (
        lambda _: set_global_flags({FREE: 25}, **ORIGIN),
        lambda _: get_global_values().get(FREE),
    ),
    "a dial that was set first": (
        lambda _: set_global_flags({"computeMigrationPaidPercentage": 25}, **ORIGIN),
        lambda _: get_global_values().get("computeMigrationPaidPercentage"),
    ),
    "a dial that was unset": (
        lambda _: set_global_flags({FREE: None}, **ORIGIN),
        lambda _: get_global_values().get(FREE),
    ),
    "the default group": (
        lambda one: set_global_flags({"defaultWorkerInstanceGroupId": one.group_id}, **ORIGIN),
        lambda _: get_global_values().get("defaultWorkerInstanceGroupId"),
    ),
    "an override": (
        lambda one: set_organization_flags(one.organization_id, {ACCESS: True}, **ORIGIN),
        lambda one: get_organization_values(one.organization_id).get(ACCESS),
    ),
    "a plan": (
        lambda one: update_organization(one.organization_id, {"plan": None}, now=NOW, **ORIGIN),
        lambda one: get_organization(one.organization_id).organization.plan,
    ),
    "an access": (
        lambda one: update_organization(
            one.organization_id, {"has_access": False}, now=NOW, **ORIGIN
        ),
        lambda one: get_organization(one.organization_id).organization.has_access,
    ),
    "a title": (
        lambda one: update_organization(one.organization_id, {"title": "New"}, now=NOW, **ORIGIN),
        lambda one: get_organization(one.organization_id).organization.title,
    ),
    "a membership": (
        lambda one: set_membership(
            user_id=one.member_id,
            organization_id=one.organization_id,
            role=Role.ADMIN,
            now=NOW,
            **ORIGIN,
        ),
        role_of,
    ),
    "a pause": (
        lambda one: update_environment(one.environment_id, {"paused": True}, **ORIGIN),
        lambda one: get_environment(one.environment_id).paused,
    ),
    "a limit": (
        lambda one: update_environment(one.environment_id, {"concurrency_limit": 3}, **ORIGIN),
        lambda one: get_environment(one.environment_id).concurrency_limit,
    ),
    "a current version": (lambda one: make_version(one.tenant, task("newer")), version_of),
    "allowed queues": (
        lambda one: set_project_routing(one.tenant.project, {"allowed_queues": ["g"]}, **ORIGIN),
        lambda one: get_routing(one.tenant.project.id).allowed_queues,
    ),
    "a project's default": (
        lambda one: set_project_routing(one.tenant.project, {"default_worker": "g"}, **ORIGIN),
        lambda one: get_routing(one.tenant.project.id).default_group_id,
    ),
    **{f"a group's {name}": _group_change(name, new) for name, new in GROUP_VALUES.items()},
    "a queue's pause": (
        lambda one: set_queue_paused(scope=one.scope, ref=QUEUE, paused=True, now=NOW, **ORIGIN),
        lambda one: get_queue(environment_id=one.environment_id, ref=QUEUE).paused,
    ),
    "a queue's limit": (
        lambda one: override_queue_limit(
            scope=one.scope, ref=QUEUE, override=LimitOverride(limit=2), now=NOW, **ORIGIN
        ),
        lambda one: get_queue(environment_id=one.environment_id, ref=QUEUE).limit,
    ),
}


def test_a_change_and_its_revert_can_be_reverted(staff: ApiClient, things: Things) -> None:
    """The value before holds again, the new row says what it reverts, and so there and back."""
    for what in CHANGES:
        with undone():
            there_and_back(staff, things, what)


def there_and_back(staff: ApiClient, things: Things, what: str) -> None:
    """Make a change, revert it, and revert that."""
    make, read = CHANGES[what]
    before = read(things)
    make(things)
    after, row = read(things), last_row()
    assert after != before, what
    answer = json_of(revert(staff, row, **{"x-reason": "too early"}))
    undone_by = last_row()
    assert read(things) == before, what
    assert (undone_by.scope, undone_by.key, undone_by.org) == (row.scope, row.key, row.org)
    assert (undone_by.old, undone_by.new) == (row.new, row.old)
    assert undone_by.revision == answer["revision"]
    assert undone_by.reason == f"Reverts change {row.id}: too early"
    assert undone_by.actor.startswith("token:")
    json_of(revert(staff, undone_by))
    assert read(things) == after, what
    assert last_row().reason == f"Reverts change {undone_by.id}"
    assert verify_audit().is_valid


def test_a_key_that_was_changed_since_is_a_conflict(staff: ApiClient, things: Things) -> None:
    """Nothing is undone but what was asked: 409, also for what was reverted already."""
    set_global_flags({FREE: 25, ON: True}, **ORIGIN)
    dial = list_audit(key=FREE, limit=1).rows[0]
    set_global_flags({FREE: 26}, **ORIGIN)
    revision = current_revision()
    refused = revert(staff, dial)
    assert FREE in json_of(refused, 409)["error"]
    assert refused["x-should-retry"] == "false"
    assert (current_revision(), get_global_values()[FREE]) == (revision, 26)
    switch = list_audit(key=ON, limit=1).rows[0]
    json_of(revert(staff, switch))  # what changed elsewhere does not matter
    json_of(revert(staff, switch), 409)


def test_the_same_key_of_another_is_no_conflict(staff: ApiClient, things: Things) -> None:
    """An override of somebody else, and the value for everyone, are other keys."""
    set_organization_flags(things.organization_id, {ACCESS: True}, **ORIGIN)
    row = last_row()
    set_global_flags({ACCESS: True}, **ORIGIN)
    set_organization_flags(make_shop().tenant.organization.id, {ACCESS: True}, **ORIGIN)
    json_of(revert(staff, row))
    assert ACCESS not in get_organization_values(things.organization_id)


def test_what_cannot_come_back_is_refused(staff: ApiClient, things: Things) -> None:
    """Each with a sentence of its own, 422, and nothing is written."""
    key = create_environment_key(things.environment_id, now=NOW, **ORIGIN)
    revoke_environment_key(key.id, now=NOW, **ORIGIN)
    rotate_worker_group_token(things.group_id, now=NOW, **ORIGIN)
    set_password(things.member_id, "a-long-password-1", **ORIGIN)
    rows = {(row.scope.partition(":")[0], row.key): row for row in list_audit(limit=200).rows}
    before = current_revision()
    said = {}
    for kind, name in (
        ("key", "created"),
        ("key", "revokedAt"),
        ("token", "created"),
        ("user", "created"),
        ("user", "password"),
        ("organization", "created"),
        ("worker_group", "created"),
        ("worker_group", "token"),
    ):
        said[kind, name] = json_of(revert(staff, rows[kind, name]), 422)["error"]
    assert current_revision() == before
    assert "revoked" in said["key", "revokedAt"]
    assert "hide" in said["worker_group", "created"]
    assert len(set(said.values())) == len(said)


def test_a_value_that_is_not_possible_any_more_is_refused(staff: ApiClient, things: Things) -> None:
    """A label of a group with history, a default that is gone, the first version."""
    update_worker_group(things.group_id, {"region": "us"}, now=NOW, **ORIGIN)
    relabelled = last_row()

    change(
        "UPDATE deployments_workerinstancegroup SET has_run_history = true WHERE id = %s",
        things.group_id,
    )
    assert "run history" in json_of(revert(staff, relabelled), 409)["error"]
    first = list_audit(key="currentVersion", limit=50).rows[-1]
    assert first.old is None
    latest = list_audit(key="currentVersion", limit=1).rows[0]
    promote_version(
        scope=things.scope, version=str(latest.old), allow_rollback=True, actor="a", now=NOW
    )
    json_of(revert(staff, first), 409)


def test_an_unknown_row_is_not_found(staff: ApiClient) -> None:
    """Whatever the path says that is no audit row."""
    for audit_id in ("0", "999999999", "x", "-1", "9" * 30):
        json_of(staff.post(f"/admin/api/v1/audit/{audit_id}/revert", {}), 404)
    json_of(staff.post(f"/admin/api/v1/audit/{last_row().id}/revert", {"force": True}), 400)


class TestThePages:
    """The audit offers the revert, and says why not where there is none."""

    PATH = "/admin/audit/"

    def test_one_click_reverts(self, things: Things) -> None:
        """The button's form carries nothing but its token, and the new row is the person's."""
        staff = make_staff()
        for value in (True, False):
            set_global_flags({REQUIRE_READY: value}, **ORIGIN)
        row = last_row()
        address = f"{self.PATH}{row.id}/"
        listed = staff.page(f"{self.PATH}?key={REQUIRE_READY}")
        assert f'action="{address}"' in listed
        assert f"Set {REQUIRE_READY} back to true" in listed
        token = staff.form(address)["csrfmiddlewaretoken"]
        staff.send(address, {"csrfmiddlewaretoken": token}, 303)
        assert get_global_values()[REQUIRE_READY] is True
        undone = last_row()
        assert (undone.actor, undone.reason) == (
            f"user:{staff.person.email}",
            f"Reverts change {row.id}",
        )
        said = f"{REQUIRE_READY} is true again, at revision {undone.revision}."
        assert said in staff.page(self.PATH)

    def test_a_conflict_shows_what_changed_since(self, things: Things) -> None:
        """The page says so, with the changes since then beside it."""
        staff = make_staff()
        set_global_flags({FREE: 25}, **ORIGIN)
        address = f"{self.PATH}{last_row().id}/"
        fields = staff.form(address)
        assert "It was not changed since." in staff.page(address)
        set_global_flags({FREE: 26}, actor="user:eve@example.com", source="api", reason="why not")
        page = staff.send(address, fields, 409)
        assert "Nothing was reverted." in page
        assert "eve@example.com" in page
        assert "why not" in page
        assert get_global_values()[FREE] == 26

    def test_what_cannot_be_reverted_says_why(self, things: Things) -> None:
        """There is no button, and a form that is sent all the same is refused."""
        staff = make_staff()
        row = next(row for row in list_audit().rows if row.scope.startswith("token:"))
        address = f"{self.PATH}{row.id}/"
        assert "revoke the token instead" in staff.page(address)
        token = staff.form(self.PATH)["csrfmiddlewaretoken"]
        before = current_revision()
        page = staff.send(address, {"csrfmiddlewaretoken": token}, 422)
        assert "revoke the token instead. Nothing was reverted." in page
        assert current_revision() == before
        for unknown in ("0", "x", "9" * 30):
            staff.page(f"{self.PATH}{unknown}/", 404)
