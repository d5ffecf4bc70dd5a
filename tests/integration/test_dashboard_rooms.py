"""The rooms beside the runs: regions, keys, members, settings, tokens, and what their forms do."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from deployments.routing import find_default_region
from deployments.worker_groups import set_default_group
from flags.callers import CALLERS, find_caller
from flags.services import set_organization_flags
from ledger.selectors import current_revision, list_audit
from tenants.credentials import Person
from tenants.key_selectors import list_working_keys
from tenants.key_uses import KEY_USES
from tenants.people_selectors import find_role, list_tokens
from tenants.selectors import find_person_by_token, get_organization
from tenants.words import Role
from tests.api_client import ApiClient, json_of
from tests.browsing import REGION, TASK, Shop, browser, make_shop, page_of, submit
from tests.factories import (
    NOW,
    ORIGIN,
    PersonWithToken,
    make_person,
    make_tenant,
    make_worker_group,
)
from webapp.dashboard.members import UNKNOWN_EMAILS

pytestmark = pytest.mark.django_db

SECRET = re.compile(r'data-testid="secret">(tr_\w+)<')
EU = "eu-central-1"
NEXT = "us-east-1-next"


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


@pytest.fixture
def owner(shop: Shop) -> PersonWithToken:
    """Give an owner of the tenant."""
    return make_person(member_of=shop.tenant.organization.id, role=Role.OWNER)


def make_regions() -> None:
    """Make a second region, and MicroVM compute in the first."""
    make_worker_group(name=EU, fields={"workload_type": "CONTAINER", "region": EU})
    make_worker_group(name=NEXT, fields={"workload_type": "MICROVM", "region": REGION})
    make_worker_group(
        name="secret-1", fields={"workload_type": "CONTAINER", "region": "secret-1", "hidden": True}
    )


# -- regions ---------------------------------------------------------------------------------------


def test_members_choose_a_default_region(shop: Shop) -> None:
    """The page says where runs go, a button moves the default, the API agrees, one audit row says so."""
    make_regions()
    client, project = browser(shop.person), shop.tenant.project
    page = page_of(client, shop.room("regions"))
    assert f"Runs that name no region go to {REGION}" in page
    answer = submit(client, shop.room(f"regions/{project.ref}"), region=EU)
    assert (answer.status_code, answer["Location"]) == (303, shop.room("regions"))
    page = page_of(client, shop.room("regions"))
    assert f"Runs that name no region go to {EU}" in page
    assert f"New runs of {project.name} that name no region go to {EU}." in page
    assert find_default_region(project) == EU
    told = json_of(ApiClient(shop.person.token).get(f"/api/v1/projects/{project.ref}"))
    assert told["defaultRegion"] == EU
    row = list_audit(actor=f"user:{shop.person.email}").rows[0]
    assert row.source == "dashboard"


def test_regions_that_cannot_be_chosen_are_told_alike(shop: Shop) -> None:
    """Unknown, hidden and MicroVM regions are refused in one sentence, and none of them is shown."""
    make_regions()
    client, path = browser(shop.person), shop.room(f"regions/{shop.tenant.project.ref}")
    revision = current_revision()
    for region in ("atlantis", "secret-1", NEXT, shop.worker_queue + "x", ""):
        submit(client, path, region=region)
        page = page_of(client, shop.room("regions"))
        said = (
            f"The region &quot;{region}&quot; is not available. Available regions: {EU}, {REGION}."
        )
        assert said in page
        shown = page.replace(said, "")
        assert not [name for name in (NEXT, "secret-1", shop.worker_queue) if name in shown]
    assert current_revision() == revision


def test_microvm_regions_are_for_those_with_access(shop: Shop) -> None:
    """With compute access the MicroVM group is a region of its own, with its badge, and pins."""
    make_regions()
    client, path = browser(shop.person), shop.room("regions")
    assert "MicroVM" not in page_of(client, path)
    organization = shop.tenant.organization.id
    set_organization_flags(
        organization, {"hasComputeAccess": True}, actor="user:a", source="api", reason="beta"
    )
    page = page_of(client, path)
    assert f"Make {NEXT} the default" in page
    assert ">MicroVM<" in page
    submit(client, shop.room(f"regions/{shop.tenant.project.ref}"), region=NEXT)
    assert f"Runs that name no region go to {NEXT}" in page_of(client, path)


def test_a_default_that_staff_chose_is_shown_as_geography(shop: Shop) -> None:
    """A MicroVM default of a project without access reads as its region; no queue is named."""
    make_regions()
    group = make_worker_group(
        name="deep-9-next", fields={"workload_type": "MICROVM", "region": "deep-9", "hidden": True}
    )
    set_default_group(shop.tenant.project, group.id, **ORIGIN)
    page = page_of(browser(shop.person), shop.room("regions"))
    assert "Runs that name no region go to deep-9" in page
    assert "deep-9-next" not in page
    path = f"/api/v1/projects/{shop.tenant.project.ref}"
    assert json_of(ApiClient(shop.person.token).get(path))["defaultRegion"] == "deep-9"
    staff = page_of(browser(make_person(is_staff=True)), shop.room("regions"))
    assert "deep-9-next" in staff
    assert shop.worker_queue in staff


# -- keys ------------------------------------------------------------------------------------------


def test_a_new_key_works_and_the_old_one_for_a_while(shop: Shop, owner: PersonWithToken) -> None:
    """A replaced key is shown once, opens the environment, and leaves the old one its grace."""
    client, environment = browser(owner), shop.tenant.environments["stg"].id
    path = shop.room(f"keys/new/{environment}")
    answer = submit(client, path, replaces=shop.tenant.key_ids["stg"])
    (secret,) = SECRET.findall(answer.content.decode())
    assert answer["Cache-Control"] == "private, no-store"
    for key in (secret, shop.tenant.keys["stg"]):
        CALLERS.clear()
        caller = find_caller(key)
        assert caller is not None
        assert caller.environment.id == environment
    page = page_of(client, shop.room("keys"))
    assert secret not in page
    assert f"tr_stg_…{secret[-4:]}" in page
    assert "was replaced, works for those who still have it" in page
    again = submit(client, path, replaces=shop.tenant.key_ids["stg"])
    assert again.status_code == 303
    assert "replaced or revoked meanwhile" in page_of(client, shop.room("keys"))


def test_a_revoked_key_opens_nothing(shop: Shop, owner: PersonWithToken) -> None:
    """Revoking takes the last four characters, ends the key at once, and says what is left."""
    client, key_id = browser(owner), shop.tenant.key_ids["prod"]
    secret = shop.tenant.keys["prod"]
    for typed in ("", "nope", secret):
        submit(client, shop.room(f"keys/{key_id}/revoke"), last4=typed)
        assert "Nothing was changed" in page_of(client, shop.room("keys"))
    submit(client, shop.room(f"keys/{key_id}/revoke"), last4=secret[-4:])
    CALLERS.clear()
    assert find_caller(secret) is None
    page = page_of(client, shop.room("keys"))
    assert "nothing can trigger or read runs here until one is made" in page
    environment = shop.tenant.environments["prod"].id
    made = submit(client, shop.room(f"keys/new/{environment}"), replaces="")
    assert SECRET.search(made.content.decode())


def test_keys_of_other_tenants_are_not_there(shop: Shop, owner: PersonWithToken) -> None:
    """Below one's own place, another tenant's environment and key are 404, and stay as they are."""
    other, client = make_tenant(), browser(owner)
    before = list_working_keys(other.organization.id, now=datetime.now(UTC))
    foreign = other.environments["prod"].id
    answer = submit(client, shop.room(f"keys/new/{foreign}"), replaces=other.key_ids["prod"])
    assert answer.status_code == 404
    path, last4 = shop.room(f"keys/{other.key_ids['prod']}/revoke"), other.keys["prod"][-4:]
    assert submit(client, path, last4=last4).status_code == 404
    assert list_working_keys(other.organization.id, now=datetime.now(UTC)) == before


def test_a_key_says_when_it_was_last_used(shop: Shop) -> None:
    """Requests are noted in memory and stored once in a while; a wrong key is no use of it."""
    KEY_USES.store(now=NOW)  # what earlier tests noted
    client, key = browser(shop.person), shop.tenant.keys["prod"]
    assert "no use of it is known" in page_of(client, shop.room("keys"))
    for _ in range(3):
        json_of(ApiClient(key).get("/api/v1/runs"))
    ApiClient(shop.tenant.keys["stg"] + "x").get("/api/v1/runs")
    assert KEY_USES.store(now=datetime.now(UTC)) == 1
    assert KEY_USES.store(now=datetime.now(UTC)) == 0
    used = {
        key.environment_id: key.last_used_at
        for key in list_working_keys(shop.tenant.organization.id, now=datetime.now(UTC))
    }
    noted = {one for one, at in used.items() if at is not None}
    assert noted == {shop.tenant.environments["prod"].id}
    assert "last used" in page_of(client, shop.room("keys"))


def test_a_use_that_cannot_be_stored_stays_noted(shop: Shop) -> None:
    """A database that does not answer loses none; the next look stores it."""
    KEY_USES.store(now=NOW)
    KEY_USES.note(shop.tenant.key_ids["prod"])
    with (
        connection.execute_wrapper(_refuse),
        pytest.raises(ZeroDivisionError),
        transaction.atomic(),
    ):
        KEY_USES.store(now=NOW)
    assert KEY_USES.store(now=NOW) == 1


def _refuse(*_: object) -> None:
    raise ZeroDivisionError


def test_a_preview_environment_is_added_once(shop: Shop, owner: PersonWithToken) -> None:
    """Its key is shown once and works; it is there to switch to, and there is one per project."""
    client, ref = browser(owner), shop.tenant.project.ref
    path = shop.room(f"settings/projects/{ref}/preview")
    assert "Add a preview environment" in page_of(client, shop.room("settings"))
    page = submit(client, path, type="PREVIEW").content.decode()
    (secret,) = SECRET.findall(page)
    assert secret.startswith("tr_preview_")
    assert json_of(ApiClient(secret).get("/api/v1/whoami"))["type"] == "PREVIEW"
    assert "Preview" in page_of(client, shop.room("runs", environment="preview"))
    assert "Add a preview environment" not in page_of(client, shop.room("settings"))
    submit(client, path, type="PREVIEW")
    assert "has a preview environment already" in page_of(client, shop.room("settings"))
    submit(client, path, type="PRODUCTION")
    assert "only a preview environment can be added" in page_of(client, shop.room("settings"))
    assert len(get_organization(shop.tenant.organization.id).environments) == 4
    other = make_tenant().project.ref
    foreign = submit(client, shop.room(f"settings/projects/{other}/preview"), type="PREVIEW")
    assert foreign.status_code == 404


# -- members ---------------------------------------------------------------------------------------


def test_somebody_is_added_lifted_and_removed(shop: Shop, owner: PersonWithToken) -> None:
    """An owner adds by email, gives another role, and removes; the removed one sees nothing more."""
    newcomer, client = make_person(), browser(owner)
    organization, theirs = shop.tenant.organization.id, browser(newcomer)
    page_of(theirs, shop.path(), status=404)
    submit(client, shop.room("members/add"), email=newcomer.email, role="member")
    assert f"{newcomer.email} is a member now." in page_of(client, shop.room("members"))
    page_of(theirs, shop.path())
    submit(client, shop.room(f"members/{newcomer.id}"), role="admin")
    assert find_role(user_id=newcomer.id, organization_id=organization) == Role.ADMIN
    submit(client, shop.room(f"members/{newcomer.id}"), role="none")
    page_of(theirs, shop.path(), status=404)
    assert "The membership ended at once." in page_of(client, shop.room("members"))


def test_the_last_owner_is_not_offered_to_leave(shop: Shop, owner: PersonWithToken) -> None:
    """The page says that the last owner stays, and the form agrees; a member may leave."""
    client, title = browser(owner), shop.tenant.organization.title
    page = page_of(client, shop.room("members"))
    assert "the last owner stays" in page
    assert f"Leave {title}" not in page
    submit(client, shop.room(f"members/{owner.id}"), role="none")
    assert "is the last owner" in page_of(client, shop.room("members"))
    plain = browser(shop.person)
    assert f"Leave {title}" in page_of(plain, shop.room("members"))
    left = submit(plain, shop.room(f"members/{shop.person.id}"), role="none")
    assert left["Location"] == "/orgs"
    assert f"You left {title}." in page_of(plain, "/orgs")


def test_accounts_cannot_be_found_by_trying(shop: Shop, owner: PersonWithToken) -> None:
    """After many emails that nobody has, no further one is looked at for a while."""
    client, newcomer = browser(owner), make_person()
    path = shop.room("members/add")
    for number in range(UNKNOWN_EMAILS.allowance.failures):
        submit(client, path, email=f"no{number}@example.com", role="member")
        page = page_of(client, shop.room("members"))
        assert f"Nobody logs in here as no{number}@example.com" in page
    submit(client, path, email=newcomer.email, role="member")
    assert "Too many emails that nobody has" in page_of(client, shop.room("members"))
    organization = shop.tenant.organization.id
    assert find_role(user_id=newcomer.id, organization_id=organization) is None


# -- settings --------------------------------------------------------------------------------------


def test_a_new_project_can_be_used_at_once(shop: Shop, owner: PersonWithToken) -> None:
    """Its keys are shown once and open it; its runs are narrowed to by a filter; the name is taken."""
    client, organization = browser(owner), shop.tenant.organization
    answer = submit(client, shop.room("settings/projects"), name="Mail")
    keys = SECRET.findall(answer.content.decode())
    assert [key.split("_")[1] for key in keys] == ["prod", "stg", "dev"]
    body: dict[str, object] = {"payload": {}}
    made = json_of(ApiClient(keys[0]).post(f"/api/v1/tasks/{TASK}/trigger", body))["id"]
    shop.trigger("other")
    assert page_of(client, shop.path()).count('data-testid="run"') == 2
    narrowed = page_of(client, f"{shop.path()}?project=mail")
    assert narrowed.count('data-testid="run"') == 1
    assert made in narrowed
    assert "1 run in project mail" in narrowed
    assert f'href="{shop.path(environment="stg")}?project=mail"' in narrowed
    assert "Replace the key of Mail, Production" in page_of(client, shop.room("keys"))
    assert f"Mail: {REGION}</h2>" in page_of(client, shop.room("regions"))
    assert page_of(client, shop.path(made)).count("Run ")
    page_of(client, f"{shop.path()}?project=none-of-these", status=404)
    again = submit(client, shop.room("settings/projects"), name="Mail")
    assert again.status_code == 303
    page = page_of(client, shop.room("settings"))
    assert "No project was made: There is a project called mail already" in page
    assert [one.slug for one in get_organization(organization.id).projects][1:] == ["mail"]
    assert page.count('data-testid="project"') == 2


def test_a_paused_environment_says_so(shop: Shop) -> None:
    """A list of a paused environment says that its runs wait, and the settings name it."""
    staff = ApiClient(make_person(is_staff=True).token)
    environment = shop.tenant.environments["prod"].id
    staff.patch(f"/admin/api/v1/environments/{environment}", {"paused": True})
    client = browser(shop.person)
    assert "Production is paused" in page_of(client, shop.path())
    assert "Paused" in page_of(client, shop.room("settings"))
    assert "Production is paused" not in page_of(client, shop.path(environment="stg"))


# -- tokens ----------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_can_be_revoked() -> None:
    """A new token acts as its owner, is shown once, is made once per form, and ends at once."""
    person = make_person()
    client, seen = browser(person), list_tokens(person.id)[0].id
    answer = submit(client, "/tokens", name="laptop", seen=seen)
    (secret,) = SECRET.findall(answer.content.decode())
    now = datetime.now(UTC)
    found = find_person_by_token(secret, now=now)
    assert isinstance(found, Person)
    assert found.id == person.id
    assert secret not in page_of(client, "/tokens")
    for fields in ({"name": "laptop", "seen": seen}, {"name": " "}, {}):
        assert submit(client, "/tokens", **fields).status_code == 303
    assert [token.name for token in list_tokens(person.id)] == ["laptop", "test"]
    submit(client, f"/tokens/{found.token_id}/revoke")
    assert find_person_by_token(secret, now=datetime.now(UTC)) is None


def test_a_token_is_its_owners_alone() -> None:
    """Nobody sees or revokes somebody else's token, staff included."""
    owner, staff = make_person(), make_person(is_staff=True)
    (token,) = list_tokens(owner.id)
    assert submit(browser(staff), f"/tokens/{token.id}/revoke").status_code == 404
    assert token.last4 not in page_of(browser(staff), "/tokens")
    assert find_person_by_token(owner.token, now=datetime.now(UTC)) is not None


# -- theme -----------------------------------------------------------------------------------------


def test_a_theme_is_kept_and_never_leads_elsewhere(shop: Shop) -> None:
    """A chosen theme is in every page from then on, login included; garbage is no theme."""
    client = browser(shop.person)
    assert "data-theme" not in page_of(client, shop.path())
    answer = submit(client, "/theme", theme="dark", next=shop.room("keys"))
    assert (answer.status_code, answer["Location"]) == (303, shop.room("keys"))
    assert 'data-theme="dark"' in page_of(client, shop.path())
    assert submit(client, "/theme", theme="dark", next="https://evil.example/")["Location"] == "/"
    for theme in ("auto", '"><script>', ""):
        submit(client, "/theme", theme=theme)
        assert "data-theme" not in page_of(client, shop.path())
    client.cookies["theme"] = '"><script>'
    assert "data-theme" not in page_of(client, shop.path())
