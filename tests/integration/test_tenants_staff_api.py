"""The staff API: its routes, its refusals and what it records."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deployments.models.groups import WorkerInstanceGroup
from ledger.selectors import current_revision, list_audit
from tests.api_client import ApiClient, json_of
from tests.factories import Tenant, make_person, make_tenant, make_worker_group
from webapp.api.openapi import openapi_document

pytestmark = pytest.mark.django_db

ORGS = "/admin/api/v1/orgs"
WORKERS = "/admin/api/v1/workers"


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization."""
    return make_tenant(title="Acme", plan="free")


def every_route(tenant: Tenant) -> list[tuple[str, str, object]]:
    """List the staff routes with a body each accepts."""
    return [
        ("POST", ORGS, {"title": "x", "plan": "free"}),
        ("PATCH", f"{ORGS}/{tenant.organization.id}", {"plan": "paid"}),
        ("GET", ORGS, None),
        ("GET", f"{ORGS}/{tenant.organization.id}", None),
        ("POST", WORKERS, {"name": "x", "workloadType": "CONTAINER"}),
        ("PATCH", f"{WORKERS}/wg_x", {"hidden": True}),
        ("GET", WORKERS, None),
        ("PATCH", f"/admin/api/v1/environments/{tenant.environments['prod'].id}", {"paused": True}),
        ("PATCH", f"/admin/api/v1/projects/{tenant.project.ref}", {"allowedQueues": []}),
        ("GET", "/admin/api/v1/feature-flags", None),
        ("POST", "/admin/api/v1/feature-flags", {"hasComputeAccess": True}),
        ("POST", "/admin/api/v1/migration/kill", {}),
        ("POST", "/admin/api/v1/migration/move-queued", {"region": "us", "to": "CONTAINER"}),
        ("POST", "/admin/api/v1/migration/preview", {"flags": {}}),
        ("GET", f"{ORGS}/{tenant.organization.id}/feature-flags", None),
        ("POST", f"{ORGS}/{tenant.organization.id}/feature-flags", {"hasComputeAccess": True}),
        ("GET", f"/admin/api/v2/orgs/{tenant.organization.id}/feature-flags", None),
        ("POST", f"/admin/api/v2/orgs/{tenant.organization.id}/feature-flags", {}),
        ("GET", f"{ORGS}/{tenant.organization.id}/migration/explain?environment=prod", None),
        ("GET", "/admin/api/v1/ramps", None),
        ("POST", "/admin/api/v1/ramps", {"flag": "x", "steps": []}),
        ("POST", "/admin/api/v1/ramps/ramp_x/start", None),
        ("POST", "/admin/api/v1/deployments/deployment_x/templates/rebuild", {}),
        ("GET", "/admin/api/v1/runs/run_x", None),
        ("GET", "/admin/api/v1/audit", None),
        ("POST", f"/admin/api/v1/audit/{list_audit().rows[0].id}/revert", {}),
        ("GET", "/admin/api/v1/replicas", None),
        ("GET", "/admin/api/v1/reconcilers", None),
    ]


def test_no_staff_route_is_forgotten(tenant: Tenant) -> None:
    """The walk below visits every route that the API document has for staff."""
    walked = {(method, path.partition("?")[0]) for method, path, _body in every_route(tenant)}
    forgotten = [
        (method, template)
        for template, methods in openapi_document()["paths"].items()
        for method in methods
        if template.startswith("/admin/api/")
        and not any(
            method.upper() == verb and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
            for verb, path in walked
        )
    ]
    assert forgotten == []


@pytest.mark.parametrize(
    ("bearer_of", "status"),
    [
        (lambda _tenant: None, 401),
        (lambda _tenant: "tr_pat_nobody", 401),
        (lambda tenant: tenant.keys["prod"], 401),
        (lambda tenant: make_person(member_of=tenant.organization.id).token, 403),
    ],
)
def test_only_staff_may(tenant: Tenant, bearer_of: Any, status: int) -> None:
    """Without a valid token every staff route is 401, with someone else's 403; nothing happens."""
    client = ApiClient(bearer_of(tenant))
    before = current_revision()
    for method, path, body in every_route(tenant):
        assert "error" in json_of(client.send(method, path, body), status)
    assert current_revision() == before


def test_a_new_organization_shows_its_keys_once(staff: ApiClient) -> None:
    """The answer has the keys; reading the organization later does not."""
    made = json_of(staff.post(ORGS, {"title": "Umbrella", "plan": "paid"}), 201)
    assert (made["slug"], made["plan"]) == ("umbrella", "paid")
    assert set(made["project"]) == {"id", "ref"}
    assert [env["slug"] for env in made["environments"]] == ["dev", "stg", "prod"]
    assert made["environments"][2]["apiKey"].startswith("tr_prod_")
    read = staff.get(f"{ORGS}/{made['id']}")
    assert made["environments"][2]["apiKey"] not in read.content.decode()
    assert json_of(read)["environments"][2] == {
        "id": made["environments"][2]["id"],
        "type": "PRODUCTION",
        "slug": "prod",
        "concurrencyLimit": 100,
        "paused": False,
    }


def test_an_unknown_plan_is_left_out_of_answers(staff: ApiClient) -> None:
    """A plan may be null, and then the key is missing."""
    made = json_of(staff.post(ORGS, {"title": "Nameless", "plan": None}), 201)
    assert "plan" not in made
    assert "planAt" not in json_of(staff.get(f"{ORGS}/{made['id']}"))


def test_changing_a_plan_leaves_one_row_with_reason_and_request(
    staff: ApiClient, tenant: Tenant
) -> None:
    """The audit names who, why and by which request."""
    response = staff.send(
        "PATCH",
        f"{ORGS}/{tenant.organization.id}",
        {"plan": "paid"},
        headers={"x-reason": "upgrade", "x-request-id": "req-1"},
    )
    assert json_of(response)["plan"] == "paid"
    row = list_audit(org=tenant.organization.id).rows[0]
    assert (row.key, row.old, row.new, row.reason, row.request_id) == (
        "plan",
        "free",
        "paid",
        "upgrade",
        "req-1",
    )
    assert row.actor.startswith("token:person")


def test_organizations_come_in_pages(staff: ApiClient) -> None:
    """The cursor of a page leads to the next one."""
    for _ in range(51):
        make_tenant(title="Many")
    first = json_of(staff.get(f"{ORGS}?query=many"))
    assert len(first["data"]) == 50
    second = json_of(staff.get(f"{ORGS}?query=many&page[after]={first['pagination']['next']}"))
    assert (len(second["data"]), second["pagination"]) == (1, {})


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "   "}, "title"),
        ({"title": 5}, "title"),
        ({"title": None}, "title"),
        ({"title": "x", "plan": "gold"}, "plan"),
        ({"title": "x", "plan": True}, "plan"),
        ({"title": "x", "colour": "red"}, "colour"),
        ({"title": "x" * 201}, "title"),
    ],
)
def test_a_wrong_body_names_its_field(staff: ApiClient, body: object, key: str) -> None:
    """A body of a wrong shape is 400, names every wrong field, and nothing is written."""
    before = current_revision()
    answer = json_of(staff.post(ORGS, body), 400)
    assert [problem["key"] for problem in answer["problems"]] == [key]
    assert answer["error"].startswith(f"{key}: ")
    assert current_revision() == before


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "Request body is empty"),
        (b"{", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b'{"title": NaN}', "Invalid JSON"),
        (b"[]", "The request body is not a JSON object"),
        (b'"text"', "The request body is not a JSON object"),
        (b"null", "The request body is not a JSON object"),
    ],
)
def test_a_body_that_is_no_object_is_refused(staff: ApiClient, raw: bytes, error: str) -> None:
    """What is not a JSON object is 400 with a sentence."""
    assert json_of(staff.send("POST", ORGS, raw=raw), 400)["error"] == error


def test_a_null_character_is_refused(staff: ApiClient) -> None:
    """What the database cannot hold is the caller's mistake, in a body, a path and a query."""
    json_of(staff.post(ORGS, {"title": "a\x00b"}), 400)
    json_of(staff.get(f"{ORGS}?query=%00"), 400)
    json_of(staff.get(f"{ORGS}/org%00"), 400)
    ref = make_tenant().project.ref
    json_of(staff.patch(f"/admin/api/v1/projects/{ref}", {"defaultWorker": "\x00"}), 400)


def test_a_label_with_run_history_is_a_conflict(staff: ApiClient) -> None:
    """The refusal must not be repeated by clients."""
    group = make_worker_group(fields={"region": "us"})
    WorkerInstanceGroup.objects.filter(id=group.id).update(has_run_history=True)
    response = staff.patch(f"{WORKERS}/{group.id}", {"region": "eu"})
    assert "run history" in json_of(response, 409)["error"]
    assert response["x-should-retry"] == "false"


def test_unknown_things_are_404(staff: ApiClient) -> None:
    """Every route with an id says so when there is no such thing."""
    for method, path, body in (
        ("PATCH", f"{ORGS}/org_x", {"plan": "paid"}),
        ("GET", f"{ORGS}/org_x", None),
        ("PATCH", f"{WORKERS}/wg_x", {"hidden": True}),
        ("PATCH", "/admin/api/v1/environments/env_x", {"paused": True}),
        ("PATCH", "/admin/api/v1/projects/proj_x", {"allowedQueues": []}),
        ("GET", "/admin/api/v1/nothing", None),
    ):
        assert "error" in json_of(staff.send(method, path, body), 404)


def test_a_wrong_method_is_json_405(staff: ApiClient) -> None:
    """A method that a route does not have is answered in JSON and names those it has."""
    response = staff.send("DELETE", ORGS)
    assert json_of(response, 405) == {"error": "Method not allowed"}
    assert set(response["Allow"].split(", ")) == {"GET", "POST"}


def test_a_worker_group_has_its_queue_and_shows_its_token_once(staff: ApiClient) -> None:
    """A shared group's queue is its name; the token appears in the first answer only."""
    body = {"name": "eu-1", "workloadType": "MICROVM", "region": "eu", "priority": 5}
    made = json_of(staff.post(WORKERS, body), 201)
    assert made["masterQueue"] == "eu-1"
    assert (made["region"], made["workloadType"], made["hidden"]) == ("eu", "MICROVM", False)
    assert (made["priority"], made["enableFastPath"]) == (5, False)
    assert made["token"]["plaintext"].startswith("tr_wgt_")
    listed = json_of(staff.get(WORKERS))["data"]
    assert [group["id"] for group in listed] == [made["id"]]
    assert "token" not in listed[0]
    assert listed[0]["live"] is False


def test_a_projects_own_group_has_the_projects_id_in_its_queue(
    staff: ApiClient, tenant: Tenant
) -> None:
    """With `projectRef` the group is that project's, and may be its default."""
    body = {"name": "own", "projectRef": tenant.project.ref, "makeDefault": True}
    made = json_of(staff.post(WORKERS, body), 201)
    assert made["masterQueue"] == f"{tenant.project.id}-own"
    assert made["projectId"] == tenant.project.id
    routing = json_of(staff.patch(f"/admin/api/v1/projects/{tenant.project.ref}", {}))
    assert routing["defaultWorker"] == made["masterQueue"]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"workloadType": "CONTAINER"}, "name"),
        ({"name": "a:b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "x", "workloadType": "container"}, "workloadType"),
        ({"name": "x", "region": ""}, "region"),
        ({"name": "x", "region": " "}, "region"),
        ({"name": "x", "priority": 1.0}, "priority"),
        ({"name": "x", "priority": True}, "priority"),
        ({"name": "x", "priority": 2**31}, "priority"),
        ({"name": "x", "hidden": "false"}, "hidden"),
        ({"name": "x", "hidden": None}, "hidden"),
        ({"name": "x", "enableFastPath": 1}, "enableFastPath"),
    ],
)
def test_a_wrong_worker_group_names_its_field(staff: ApiClient, body: object, key: str) -> None:
    """Nothing is coerced; the wrong field is named and no group is made."""
    answer = json_of(staff.post(WORKERS, body), 400)
    assert [problem["key"] for problem in answer["problems"]] == [key]
    assert json_of(staff.get(WORKERS))["data"] == []


def test_a_second_group_of_one_name_is_a_conflict(staff: ApiClient) -> None:
    """Worker queues are unique; the refusal must not be repeated by clients."""
    make_worker_group(name="twice")
    response = staff.post(WORKERS, {"name": "twice"})
    assert "twice" in json_of(response, 409)["error"]
    assert response["x-should-retry"] == "false"


def test_name_and_project_of_a_group_cannot_be_changed(staff: ApiClient) -> None:
    """They are part of its queue, so a change is refused as an unknown key."""
    group = make_worker_group()
    for body in ({"name": "other"}, {"projectRef": "proj_x"}):
        assert "problems" in json_of(staff.patch(f"{WORKERS}/{group.id}", body), 400)


def test_a_group_can_be_changed(staff: ApiClient) -> None:
    """Each given key changes, the others stay; every changed key is one audit row."""
    group = make_worker_group(fields={"region": "us", "priority": 7})
    changes = {"hidden": True, "location": "Virginia", "region": "us"}
    changed = json_of(staff.patch(f"{WORKERS}/{group.id}", changes))
    assert (changed["hidden"], changed["location"], changed["priority"]) == (True, "Virginia", 7)
    rows = [row.key for row in list_audit(limit=2).rows]
    assert sorted(rows) == ["hidden", "location"]


def test_a_projects_queues_and_default_can_be_set_and_cleared(
    staff: ApiClient, tenant: Tenant
) -> None:
    """Only groups the project can reach are accepted; null clears the default."""
    make_worker_group(name="first")
    path = f"/admin/api/v1/projects/{tenant.project.ref}"
    routing = {"allowedQueues": ["first"], "defaultWorker": "first"}
    assert json_of(staff.patch(path, routing)).items() >= routing.items()
    assert "defaultWorker" not in json_of(staff.patch(path, {"defaultWorker": None}))
    foreign = make_worker_group(name="own", project_ref=make_tenant().project.ref)
    assert foreign
    for refused in ({"defaultWorker": "own"}, {"allowedQueues": ["first", "none"]}):
        assert "error" in json_of(staff.patch(path, refused), 422)


def test_an_environment_can_be_limited_and_paused(staff: ApiClient, tenant: Tenant) -> None:
    """The answer shows the new values."""
    path = f"/admin/api/v1/environments/{tenant.environments['prod'].id}"
    changed = json_of(staff.patch(path, {"concurrencyLimit": 3, "paused": True}))
    assert (changed["concurrencyLimit"], changed["paused"]) == (3, True)
    for body in ({"concurrencyLimit": -1}, {"concurrencyLimit": "3"}, {"paused": 1}):
        assert "problems" in json_of(staff.patch(path, body), 400)
