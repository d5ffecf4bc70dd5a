"""Writes of tenants: what they store, what they record, what they refuse."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ledger.selectors import current_revision, list_audit
from tenants.crypto import hash_secret
from tenants.errors import Invalid, NotFound
from tenants.keys import (
    create_environment_key,
    create_personal_access_token,
    revoke_environment_key,
    revoke_personal_access_token,
)
from tenants.selectors import (
    find_environment_key,
    find_person_by_token,
    get_environment,
    get_organization,
    get_project_for_person,
    list_organizations,
)
from tenants.services import (
    create_organization,
    create_user,
    set_membership,
    set_password,
    update_environment,
    update_organization,
)
from tests.factories import NOW, ORIGIN, make_person, make_tenant

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)


def test_an_organization_comes_with_a_project_and_three_environments() -> None:
    """A new organization gets dev, stg and prod, each with a key that tells its environment."""
    tenant = make_tenant(title="Acme Rockets", plan="paid")
    assert tenant.organization.slug == "acme-rockets"
    assert list(tenant.environments) == ["dev", "stg", "prod"]
    assert [env.type for env in tenant.environments.values()] == [
        "DEVELOPMENT",
        "STAGING",
        "PRODUCTION",
    ]
    assert tenant.keys["prod"].startswith("tr_prod_")
    assert len(tenant.keys["prod"]) == len("tr_prod_") + 40
    assert tenant.project.ref.startswith("proj_")


def test_a_plan_keeps_when_and_by_whom_it_was_set() -> None:
    """A plan carries its time and source; writing the same plan again moves neither."""
    tenant = make_tenant(plan="free")
    changed = update_organization(tenant.organization.id, {"plan": "paid"}, now=LATER, **ORIGIN)
    again = update_organization(
        tenant.organization.id, {"plan": "paid"}, now=LATER + timedelta(hours=1), **ORIGIN
    )
    assert (changed.plan, changed.plan_at, changed.plan_source) == ("paid", LATER, "staff")
    assert again == changed


def test_a_plan_can_become_unknown() -> None:
    """Null is a plan: unknown."""
    tenant = make_tenant(plan="free")
    assert (
        update_organization(tenant.organization.id, {"plan": None}, now=NOW, **ORIGIN).plan is None
    )


@pytest.mark.parametrize("plan", ["gold", "", "FREE"])
def test_an_unknown_plan_is_refused(plan: str) -> None:
    """A plan is one of the closed list, and a refused write leaves nothing."""
    before = current_revision()
    with pytest.raises(Invalid) as refused:
        create_organization(title="x", plan=plan, now=NOW, **ORIGIN)
    assert refused.value.problems[0].key == "plan"
    assert current_revision() == before


def test_one_audit_row_per_changed_key() -> None:
    """Each key that changes leaves one row with its old and new value; the rest leave none."""
    tenant = make_tenant(title="Old", plan="free")
    org = tenant.organization.id
    update_organization(org, {"title": "New", "plan": "free"}, now=LATER, **ORIGIN)
    rows = list_audit(org=org).rows
    assert (rows[0].key, rows[0].old, rows[0].new) == ("title", "Old", "New")
    assert rows[1].key != "plan"


def test_a_write_that_changes_nothing_takes_no_revision() -> None:
    """Writing what is there already bumps nothing."""
    tenant = make_tenant(title="Same", plan="free")
    before = current_revision()
    update_organization(tenant.organization.id, {"title": "Same"}, now=LATER, **ORIGIN)
    update_environment(tenant.environments["prod"].id, {"concurrency_limit": 100}, **ORIGIN)
    assert current_revision() == before


def test_no_secret_is_recorded() -> None:
    """The audit of a new organization holds the last four characters of its keys and no more."""
    tenant = make_tenant()
    person = make_person()
    text = repr(list_audit(limit=1000).rows)
    assert tenant.keys["prod"][-4:] in text
    assert tenant.keys["prod"][-12:] not in text
    assert hash_secret(tenant.keys["prod"]) not in text
    assert person.token[-12:] not in text


def test_slugs_are_unique() -> None:
    """Two organizations of one title have different slugs."""
    first, second = make_tenant(title="Twin"), make_tenant(title="Twin")
    assert first.organization.slug == "twin"
    assert second.organization.slug.startswith("twin-")


def test_an_environment_changes_its_limit_and_pause() -> None:
    """Limit and pause are stored and recorded with the organization."""
    tenant = make_tenant()
    env = tenant.environments["prod"].id
    update_environment(env, {"concurrency_limit": 7, "paused": True}, **ORIGIN)
    assert get_environment(env)[5:7] == (7, True)
    assert {row.key for row in list_audit(org=tenant.organization.id).rows[:2]} == {
        "concurrencyLimit",
        "paused",
    }


def test_a_negative_limit_is_refused() -> None:
    """A concurrency limit below zero means nothing."""
    with pytest.raises(Invalid):
        update_environment(
            make_tenant().environments["prod"].id, {"concurrency_limit": -1}, **ORIGIN
        )


@pytest.mark.parametrize(
    "write",
    [
        lambda: update_organization("org_x", {"title": "t"}, now=NOW, **ORIGIN),
        lambda: update_environment("env_x", {"paused": True}, **ORIGIN),
        lambda: create_environment_key("env_x", now=NOW, **ORIGIN),
        lambda: revoke_environment_key("key_x", now=NOW, **ORIGIN),
        lambda: create_personal_access_token(user_id="user_x", name="n", now=NOW, **ORIGIN),
        lambda: revoke_personal_access_token("pat_x", now=NOW, **ORIGIN),
        lambda: set_password("user_x", "p", **ORIGIN),
        lambda: get_organization("org_x"),
        lambda: get_environment("env_x"),
    ],
)
def test_unknown_things_are_not_found(write: object) -> None:
    """Each function says so when there is no such thing."""
    assert callable(write)
    with pytest.raises(NotFound):
        write()


def test_a_key_is_kept_encrypted_and_can_be_had_again() -> None:
    """A key signs tokens, so its plain text comes back; the row does not contain it."""
    tenant = make_tenant()
    assert find_environment_key(tenant.environments["prod"].id) == tenant.keys["prod"]


def test_a_rotated_environment_has_a_new_key() -> None:
    """After a rotation the new key is the environment's."""
    tenant = make_tenant()
    env = tenant.environments["prod"].id
    new = create_environment_key(env, now=NOW, **ORIGIN)
    assert find_environment_key(env) == new.plaintext != tenant.keys["prod"]


def test_a_token_finds_its_person_until_it_is_revoked() -> None:
    """A personal access token is known by its hash, and not at all once revoked."""
    person = make_person(is_staff=True)
    found = find_person_by_token(person.token, now=LATER)
    assert found is not None
    assert (found.email, found.is_staff) == (person.email, True)
    revoke_personal_access_token(found.token_id, now=LATER, **ORIGIN)
    assert find_person_by_token(person.token, now=LATER) is None
    assert find_person_by_token("x" * 100_000, now=LATER) is None


def test_an_email_belongs_to_one_person() -> None:
    """A second person with the same email is refused, whatever the case."""
    person = make_person()
    with pytest.raises(Invalid):
        create_user(email=person.email.upper(), password="p", now=NOW, **ORIGIN)


def test_projects_are_seen_by_members_and_staff_only() -> None:
    """A stranger cannot tell another tenant's project from one that does not exist."""
    tenant = make_tenant()
    ref = tenant.project.ref
    member = make_person(member_of=tenant.organization.id)
    staff, stranger = make_person(is_staff=True), make_person()
    for token in (member.token, staff.token):
        person = find_person_by_token(token, now=NOW)
        assert person is not None
        assert get_project_for_person(ref, person).id == tenant.project.id
    person = find_person_by_token(stranger.token, now=NOW)
    assert person is not None
    with pytest.raises(NotFound) as foreign:
        get_project_for_person(ref, person)
    with pytest.raises(NotFound) as missing:
        get_project_for_person("proj_none", person)
    assert str(foreign.value) == str(missing.value)


def test_a_membership_can_end() -> None:
    """A person who is no member any more sees nothing."""
    tenant = make_tenant()
    member = make_person(member_of=tenant.organization.id)
    set_membership(
        user_id=member.id, organization_id=tenant.organization.id, role=None, now=NOW, **ORIGIN
    )
    person = find_person_by_token(member.token, now=NOW)
    assert person is not None
    with pytest.raises(NotFound):
        get_project_for_person(tenant.project.ref, person)


def test_organizations_are_listed_in_pages_newest_first() -> None:
    """Pages join without gap or repetition, and a query filters by title, slug or id."""
    made = [make_tenant(title=f"Paged {number}").organization.id for number in range(5)]
    first = list_organizations(query="paged", limit=3)
    second = list_organizations(query="paged", after=first.next_after, limit=3)
    assert {row.id for row in (*first.rows, *second.rows)} == set(made)
    assert (len(first.rows), len(second.rows), second.next_after) == (3, 2, None)
    assert [row.id for row in list_organizations(query=made[0]).rows] == [made[0]]
