"""Each role, and each page and action of an organization: who gets in, and what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from deployments.queue_selectors import list_queues
from deployments.staff_selectors import list_any_deployments
from ledger.selectors import current_revision
from runs.bulk import BulkChoice, NewBulkAction
from runs.bulk_work import work_bulk_actions
from runs.services.bulk_actions import create_bulk_action
from tenants.people_selectors import list_members
from tenants.permissions import Action, Standing
from tenants.words import Role
from tests.access_table import PLACE, ROUTES, Door
from tests.browsing import REGION, Shop, browser, make_shop, page_of, submit
from tests.factories import NOW, ORIGIN, make_person, make_tenant, make_worker_group

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

READING = {name: Action.READ for name in ROUTES if name.startswith(f"GET {PLACE}/")}
WRITING = {
    "runs/{run_id}/cancel": Action.ACT_ON_RUNS,
    "runs/{run_id}/replay": Action.ACT_ON_RUNS,
    "bulk/new": Action.ACT_ON_RUNS,
    "bulk/{bulk_action_id}/abort": Action.ACT_ON_RUNS,
    "queues/{queue_id}/pause": Action.STEER_QUEUES,
    "queues/{queue_id}/limit": Action.STEER_QUEUES,
    "deployments/{deployment_id}/promote": Action.CHOOSE_VERSION,
    "deployments/{deployment_id}/cancel": Action.CHOOSE_VERSION,
    "regions/{ref}": Action.CHOOSE_REGION,
    "keys/new/{environment_id}": Action.MANAGE_KEYS,
    "keys/{key_id}/revoke": Action.MANAGE_KEYS,
    "members/add": Action.MANAGE_MEMBERS,
    "settings/projects": Action.MANAGE_PROJECTS,
    "settings/projects/{ref}/preview": Action.MANAGE_PROJECTS,
}
BY_SERVICE = {"members/{user_id}"}  # whether it may be done depends on whose role becomes which
BUTTONS = {
    "keys": ("Replace the key of", Action.MANAGE_KEYS),
    "members": ("Add to", Action.MANAGE_MEMBERS),
    "settings": ("Make a project", Action.MANAGE_PROJECTS),
    "regions": ("Make north-1 the default", Action.CHOOSE_REGION),
    "queues": ("Set the limit", Action.STEER_QUEUES),
}


class Office(NamedTuple):
    """A tenant, what its pages are asked for, and a browser of each role."""

    shop: Shop
    ids: dict[str, str]
    clients: dict[Standing, Client]

    def path(self, rest: str) -> str:
        """Give the address of a page or an action."""
        return self.shop.room(rest.format(**self.ids))


@pytest.fixture
def office() -> Office:
    """Make a tenant with somebody in every role, and another owner elsewhere."""
    shop = make_shop()
    organization = shop.tenant.organization.id
    production = shop.tenant.environments["prod"].id
    make_worker_group(name="north-1-a", fields={"workload_type": "CONTAINER", "region": "north-1"})
    clients = {
        Standing(role): browser(make_person(member_of=organization, role=role)) for role in Role
    }
    clients[Standing(None, is_staff=True)] = browser(make_person(is_staff=True))
    elsewhere = make_tenant().organization.id
    clients[Standing(None)] = browser(make_person(member_of=elsewhere, role=Role.OWNER))
    ids = {
        "run_id": shop.trigger(),
        "deployment_id": list_any_deployments().rows[0].deployment.id,
        "ref": shop.tenant.project.ref,
        "environment_id": shop.tenant.environments["stg"].id,
        "key_id": shop.tenant.key_ids["dev"],
        "queue_id": list_queues(environment_id=production, page=1, size=1).rows[0].id,
    }
    choice = BulkChoice(environment_ids=(production,), run_ids=(ids["run_id"],))
    new = NewBulkAction(kind="replay", choice=choice, organization_id=organization)
    ids["bulk_action_id"] = create_bulk_action(new, now=NOW, **ORIGIN)
    work_bulk_actions()
    return Office(shop, ids, clients)


def test_every_route_of_an_organization_has_an_action() -> None:
    """A page or action that nobody decided about fails here."""
    routes = {name for name, route in ROUTES.items() if route.door is Door.PAGE}
    of_places = {name for name in routes if f" {PLACE}/" in name}
    written = {f"POST {PLACE}/{rest}" for rest in (*WRITING, *BY_SERVICE)}
    assert set(READING) | written == of_places


def test_every_role_gets_what_the_table_says(office: Office) -> None:
    """A role that may gets in, one that may not 403 with its reason, a stranger 404; nothing moves."""
    for standing, client in office.clients.items():
        revision = current_revision()
        for rest, action in WRITING.items():
            answer = submit(client, office.path(rest))
            expected = 404 if standing == Standing(None) else 403
            got = answer.status_code
            assert (got == expected) is not standing.may(action), (standing, rest, got)
            assert got in {200, 303, 400, 403, 404}, (standing, rest, got)
            told = b"Your role does not reach so far" in answer.content
            assert told is (got == 403), (standing, rest)
        moved = current_revision() != revision
        assert not moved, standing  # the forms said nothing, so nobody changed anything


def test_every_role_reads_every_page(office: Office) -> None:
    """All pages are there for members of every role and staff, and not there for a stranger."""
    for standing, client in office.clients.items():
        expected = 200 if standing.may(Action.READ) else 404
        for name in READING:
            path = office.path(name.removeprefix(f"GET {PLACE}/"))
            assert client.get(path).status_code == expected, (standing, path)


def test_what_one_may_not_do_is_not_offered(office: Office) -> None:
    """Buttons are there for those who may press them, and only for those."""
    for standing, client in office.clients.items():
        if not standing.may(Action.READ):
            continue
        for room, (words, action) in BUTTONS.items():
            page = page_of(client, office.path(room))
            assert (words in page) is standing.may(action), (standing, room)


def test_no_role_lifts_itself(office: Office) -> None:
    """Through the page, too, nobody gives themselves or others more than they may."""
    organization = office.shop.tenant.organization.id
    before = {one.email: one.role for one in list_members(organization)}
    plain = office.clients[Standing(Role.MEMBER)]
    admin = office.clients[Standing(Role.ADMIN)]
    stranger = office.clients[Standing(None)]
    for one in list_members(organization):
        path = office.shop.room(f"members/{one.user_id}")
        for role in (*Role, "king"):
            submit(plain, path, role=role)
            assert submit(stranger, path, role=role).status_code == 404
        submit(admin, path, role=Role.OWNER)
        assert submit(admin, path, role="king").status_code == 400
    assert {one.email: one.role for one in list_members(organization)} == before


def test_regions_of_another_project_cannot_be_chosen(office: Office) -> None:
    """A project's ref of another tenant is not there below one's own place."""
    other = make_tenant().project.ref
    owner = office.clients[Standing(Role.OWNER)]
    assert submit(owner, office.shop.room(f"regions/{other}"), region=REGION).status_code == 404
