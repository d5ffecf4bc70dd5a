"""Memberships and projects: who may change them, and that an organization keeps an owner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from ledger.selectors import current_revision, list_audit
from tenants.errors import Conflict, Invalid, NotFound, Refused
from tenants.key_selectors import get_key, list_working_keys
from tenants.keys import create_environment_key
from tenants.members import Asking, LastOwner, add_member, change_member
from tenants.people_selectors import find_role, list_members
from tenants.projects import MAX_NAME, create_project
from tenants.selectors import get_organization
from tenants.services import set_membership
from tenants.words import Role
from tests.factories import NOW, ORIGIN, PersonWithToken, Tenant, make_person, make_tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.django_db


def member(tenant: Tenant, role: Role) -> PersonWithToken:
    """Make somebody who belongs to the tenant in this role."""
    return make_person(member_of=tenant.organization.id, role=role)


def change(tenant: Tenant, by: PersonWithToken, whom: PersonWithToken, role: Role | None) -> None:
    """Let somebody change a member's role."""
    change_member(
        organization_id=tenant.organization.id,
        user_id=whom.id,
        role=role,
        asking=Asking(by.id, is_staff=False),
        now=NOW,
        **ORIGIN,
    )


def role_of(tenant: Tenant, person: PersonWithToken) -> str | None:
    """Give what somebody is in the tenant."""
    return find_role(user_id=person.id, organization_id=tenant.organization.id)


def test_an_admin_adds_by_email_and_it_is_recorded() -> None:
    """The person of an email, in any case, becomes a member; one audit row says by whom and what."""
    tenant, newcomer = make_tenant(), make_person()
    admin = member(tenant, Role.ADMIN)
    add_member(
        organization_id=tenant.organization.id,
        email=f" {newcomer.email.upper()} ",
        role=Role.MEMBER,
        asking=Asking(admin.id, is_staff=False),
        now=NOW,
        **ORIGIN,
    )
    assert role_of(tenant, newcomer) == Role.MEMBER
    (row,) = list_audit(key=f"member {newcomer.email}").rows
    assert (row.old, row.new, row.org) == (None, "member", tenant.organization.id)
    assert newcomer.email in [one.email for one in list_members(tenant.organization.id)]


def test_nobody_is_added_twice_or_from_nowhere() -> None:
    """An email that nobody has and somebody who is there already change nothing."""
    tenant = make_tenant()
    admin, there = member(tenant, Role.ADMIN), member(tenant, Role.OWNER)
    asking, revision = Asking(admin.id, is_staff=False), current_revision()
    for email, error in (("nobody@example.com", Invalid), (there.email, Conflict)):
        with pytest.raises(error):
            add_member(
                organization_id=tenant.organization.id,
                email=email,
                role=Role.MEMBER,
                asking=asking,
                now=NOW,
                **ORIGIN,
            )
    assert current_revision() == revision
    assert role_of(tenant, there) == Role.OWNER


def test_a_member_cannot_lift_themselves() -> None:
    """A member makes themselves nothing more, an admin no owner, a stranger no member."""
    tenant = make_tenant()
    member(tenant, Role.OWNER)
    plain, admin, stranger = member(tenant, Role.MEMBER), member(tenant, Role.ADMIN), make_person()
    for person, wanted in ((plain, Role.ADMIN), (plain, Role.OWNER), (admin, Role.OWNER)):
        with pytest.raises(Refused):
            change(tenant, person, person, wanted)
    with pytest.raises(NotFound):
        change(tenant, stranger, stranger, Role.MEMBER)
    with pytest.raises(Refused):
        change(tenant, stranger, plain, None)
    assert [role_of(tenant, one) for one in (plain, admin)] == [Role.MEMBER, Role.ADMIN]


def test_the_last_owner_stays() -> None:
    """An only owner can neither leave nor step down, whoever asks; with another one they can."""
    tenant = make_tenant()
    owner = member(tenant, Role.OWNER)
    for role in (None, Role.ADMIN, Role.MEMBER):
        with pytest.raises(LastOwner, match="the last owner"):
            change(tenant, owner, owner, role)
        with pytest.raises(LastOwner):
            set_membership(
                user_id=owner.id,
                organization_id=tenant.organization.id,
                role=role,
                now=NOW,
                **ORIGIN,
            )
    other = member(tenant, Role.MEMBER)
    change(tenant, owner, other, Role.OWNER)
    change(tenant, owner, owner, None)
    assert (role_of(tenant, owner), role_of(tenant, other)) == (None, Role.OWNER)


def test_an_owner_elsewhere_is_nobody_here() -> None:
    """The role counts in its own organization only."""
    tenant, elsewhere = make_tenant(), make_tenant()
    owner, plain = member(elsewhere, Role.OWNER), member(tenant, Role.MEMBER)
    with pytest.raises(Refused):
        change(tenant, owner, plain, None)
    assert role_of(tenant, plain) == Role.MEMBER


@pytest.mark.django_db(transaction=True)
def test_two_owners_cannot_both_leave() -> None:
    """When the last two owners leave at one moment, one of them stays."""
    tenant = make_tenant()
    owners = [member(tenant, Role.OWNER), member(tenant, Role.OWNER)]

    def leave(owner: PersonWithToken) -> bool:
        try:
            change(tenant, owner, owner, None)
        except LastOwner:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(leave, owners)) == [False, True]
    assert [one.role for one in list_members(tenant.organization.id)] == [Role.OWNER]


def test_a_project_comes_with_keys_that_are_its_own() -> None:
    """A new project has three environments, each with a key that works; each write is recorded."""
    tenant = make_tenant()
    made = create_project(tenant.organization.id, name="  Mail & More ", now=NOW, **ORIGIN)
    assert (made.project.name, made.project.slug) == ("Mail & More", "mail-more")
    assert [new.environment.slug for new in made.environments] == ["dev", "stg", "prod"]
    detail = get_organization(tenant.organization.id)
    assert [one.id for one in detail.projects] == [tenant.project.id, made.project.id]
    working = list_working_keys(tenant.organization.id, now=NOW)
    assert {new.key.id for new in made.environments} < {key.id for key in working}
    rows = list_audit(org=tenant.organization.id).rows
    assert [row.key for row in rows if row.revision == rows[0].revision] == ["created"] * 4
    assert not any(new.key.plaintext in str(row.new) for row in rows for new in made.environments)


def test_a_project_that_cannot_be_is_refused() -> None:
    """No name, one that is too long, one that is taken, no organization: nothing is left behind."""
    tenant = make_tenant()
    revision = current_revision()
    cases: Sequence[tuple[str, str, type[Exception]]] = (
        (tenant.organization.id, " ", Invalid),
        (tenant.organization.id, "x" * (MAX_NAME + 1), Invalid),
        (tenant.organization.id, tenant.project.name, Conflict),
        ("org_none", "Mail", NotFound),
    )
    for organization_id, name, error in cases:
        with pytest.raises(error):
            create_project(organization_id, name=name, now=NOW, **ORIGIN)
    assert current_revision() == revision


def test_a_key_is_replaced_once() -> None:
    """Whoever replaces a key that was replaced meanwhile is told, and nothing is changed."""
    tenant = make_tenant()
    environment, seen = tenant.environments["prod"].id, tenant.key_ids["prod"]
    create_environment_key(environment, now=NOW, expected=seen, **ORIGIN)
    revision = current_revision()
    for expected in (seen, ""):
        with pytest.raises(Conflict):
            create_environment_key(environment, now=NOW, expected=expected, **ORIGIN)
    assert current_revision() == revision


def test_a_key_is_found_in_its_own_organization() -> None:
    """Another tenant's key is as unknown as none at all."""
    mine, other = make_tenant(), make_tenant()
    assert get_key(mine.key_ids["prod"], organization_id=mine.organization.id).last4
    for key_id in (other.key_ids["prod"], "key_none"):
        with pytest.raises(NotFound):
            get_key(key_id, organization_id=mine.organization.id)
