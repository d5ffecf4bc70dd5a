"""What members and keys may ask: default region, project, whoami; and how workers are known."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import RequestFactory

from deployments.selectors import get_routing
from flags.services import set_organization_flags
from ledger.selectors import list_audit
from tests.api_client import ApiClient, json_of
from tests.factories import ORIGIN, Tenant, make_person, make_tenant, make_worker_group
from webapp.api.auth import environment_key, staff_token, worker_token
from webapp.api.errors import ApiError, answer_for, respond

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization on a platform with groups of three kinds."""
    make_worker_group(name="use1", fields={"region": "us-east-1"})
    make_worker_group(name="vm", fields={"region": "us-east-1", "workload_type": "MICROVM"})
    make_worker_group(name="eu-1")
    make_worker_group(name="old", fields={"hidden": True})
    return make_tenant(title="Acme")


@pytest.fixture
def member(tenant: Tenant) -> ApiClient:
    """Give a client with a member's token."""
    return ApiClient(make_person(member_of=tenant.organization.id).token)


def path_of(tenant: Tenant) -> str:
    """Give the path of a project's default region."""
    return f"/api/v1/projects/{tenant.project.ref}/default-region"


def test_a_member_chooses_a_region_by_its_label(tenant: Tenant, member: ApiClient) -> None:
    """The answer has the label, never the queue; the project shows it from then on."""
    answer = json_of(member.put(path_of(tenant), {"region": "us-east-1"}))
    assert answer["name"] == "us-east-1"
    assert get_routing(tenant.project.id).default_group_id == answer["id"]
    project = json_of(member.get(f"/api/v1/projects/{tenant.project.ref}"))
    assert (project["ref"], project["defaultRegion"]) == (tenant.project.ref, "us-east-1")
    assert project["organization"]["slug"] == tenant.organization.slug
    row = list_audit(org=tenant.organization.id, key="defaultGroupId").rows[0]
    assert (row.old, row.new) == (None, answer["id"])


def test_without_a_choice_the_global_default_is_shown(tenant: Tenant, member: ApiClient) -> None:
    """The first shared group is the default of a project that chose none."""
    project = json_of(member.get(f"/api/v1/projects/{tenant.project.ref}"))
    assert project["defaultRegion"] == "us-east-1"


@pytest.mark.parametrize("region", ["nowhere", "old", "vm"])
def test_regions_that_cannot_be_used_are_refused_in_one_sentence(
    tenant: Tenant, member: ApiClient, region: str
) -> None:
    """Unknown, hidden and not entitled cannot be told apart."""
    answer = json_of(member.put(path_of(tenant), {"region": region}), 422)
    assert answer == {
        "error": f'The region "{region}" is not available. Available regions: eu-1, us-east-1.'
    }
    assert get_routing(tenant.project.id).default_group_id is None


def test_compute_access_opens_the_name_of_a_microvm_group(
    tenant: Tenant, member: ApiClient
) -> None:
    """An entitled organization may choose the MicroVM group by its name."""
    set_organization_flags(tenant.organization.id, {"hasComputeAccess": True}, **ORIGIN)
    assert json_of(member.put(path_of(tenant), {"region": "vm"}))["name"] == "vm"


def test_staff_pass_the_gates(tenant: Tenant) -> None:
    """Staff may set any project's default, hidden groups too, but not what does not exist."""
    staff = ApiClient(make_person(is_staff=True).token)
    assert json_of(staff.put(path_of(tenant), {"region": "old"}))["name"] == "old"
    assert json_of(staff.put(path_of(tenant), {"region": "vm"}))["name"] == "vm"
    json_of(staff.put(path_of(tenant), {"region": "nowhere"}), 422)


def test_strangers_see_no_project(tenant: Tenant) -> None:
    """Another tenant's project is 404, as a missing one; a key is no personal token."""
    stranger = ApiClient(make_person(member_of=make_tenant().organization.id).token)
    foreign = json_of(stranger.put(path_of(tenant), {"region": "eu-1"}), 404)
    missing = json_of(stranger.put("/api/v1/projects/proj_x/default-region", {"region": "x"}), 404)
    assert foreign == missing
    json_of(stranger.get(f"/api/v1/projects/{tenant.project.ref}"), 404)
    json_of(ApiClient(tenant.keys["prod"]).put(path_of(tenant), {"region": "eu-1"}), 401)


@pytest.mark.parametrize("body", [{}, {"region": ""}, {"region": 5}, {"region": "x", "more": 1}])
def test_a_wrong_default_region_body_is_400(
    tenant: Tenant, member: ApiClient, body: object
) -> None:
    """The wrong field is named."""
    assert json_of(member.put(path_of(tenant), body), 400)["problems"]


def test_a_key_learns_its_environment(tenant: Tenant) -> None:
    """A key asking who it is learns the environment, the project and the organization."""
    answer = json_of(ApiClient(tenant.keys["stg"]).get("/api/v1/whoami"))
    assert (answer["type"], answer["slug"]) == ("STAGING", "stg")
    assert answer["project"]["ref"] == tenant.project.ref
    assert answer["organization"]["id"] == tenant.organization.id


@pytest.mark.parametrize(
    ("bearer", "error"),
    [
        (None, "Invalid or Missing API key"),
        ("", "Invalid or Missing API key"),
        ("tr_prod_wrong", "Invalid API Key"),
        ("é", "Invalid API Key"),
    ],
)
def test_a_wrong_key_is_401(bearer: str | None, error: str) -> None:
    """No key and a wrong key are told apart; nothing else is."""
    assert json_of(ApiClient(bearer).get("/api/v1/whoami"), 401) == {"error": error}


def test_a_person_learns_who_they_are(tenant: Tenant, member: ApiClient) -> None:
    """A token asking who it is learns the person, and a project they may see."""
    answer = json_of(member.get(f"/api/v2/whoami?projectRef={tenant.project.ref}"))
    assert answer["email"].startswith("person")
    assert answer["project"]["name"] == tenant.project.name
    assert "project" not in json_of(member.get("/api/v2/whoami?projectRef=proj_other"))
    assert "project" not in json_of(member.get("/api/v2/whoami"))
    json_of(ApiClient(tenant.keys["prod"]).get("/api/v2/whoami"), 401)


# -- workers --------------------------------------------------------------------------------------


def worker_headers(token: str, **changes: str | None) -> dict[str, str]:
    """Give what a supervisor sends, with changes; None leaves a header out."""
    headers = {
        "authorization": f"Bearer {token}",
        "x-trigger-worker-managed-secret": settings.ENV.managed_worker_secret,
        "x-trigger-worker-instance-name": "supervisor-1",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def test_a_supervisor_is_known_by_token_secret_and_name() -> None:
    """The caller is the token's group and the supervisor's own name."""
    group = make_worker_group()
    caller = worker_token(RequestFactory().post("/", headers=worker_headers(group.token)))
    assert (caller.group.id, caller.instance_name) == (group.id, "supervisor-1")


@pytest.mark.parametrize(
    "changes",
    [
        {"authorization": None},
        {"authorization": "Bearer tr_wgt_x"},
        {"authorization": "Basic x"},
        {"x_trigger_worker_managed_secret": None},
        {"x_trigger_worker_managed_secret": "x"},
        {"x_trigger_worker_managed_secret": "é"},
        {"x_trigger_worker_instance_name": None},
        {"x_trigger_worker_instance_name": " "},
        {"x_trigger_worker_instance_name": "x" * 201},
    ],
)
def test_a_supervisor_without_all_three_is_401(changes: dict[str, str | None]) -> None:
    """One missing or wrong part is enough, and the answer does not say which."""
    headers = worker_headers(make_worker_group().token, **changes)
    with pytest.raises(ApiError) as refused:
        worker_token(RequestFactory().post("/", headers=headers))
    assert refused.value.answer[:2] == (401, "Invalid or missing worker token")


def test_kinds_of_credentials_do_not_mix(tenant: Tenant) -> None:
    """A worker token is no key, a personal token no worker token, and so on."""
    group, person = make_worker_group(), make_person(is_staff=True)
    for authenticate, wrong in (
        (environment_key, (group.token, person.token)),
        (staff_token, (group.token, tenant.keys["prod"])),
        (worker_token, (person.token, tenant.keys["prod"])),
    ):
        for token in wrong:
            request: Any = RequestFactory().post("/", headers=worker_headers(token))
            with pytest.raises(ApiError) as refused:
                authenticate(request)
            assert refused.value.answer.status == 401


# -- failures -------------------------------------------------------------------------------------


def test_a_database_outage_is_503_without_a_trace() -> None:
    """The caller is told to try again and nothing about hosts."""
    error = OperationalError('connection to server at "10.0.0.7" failed')
    response = respond(RequestFactory().get("/"), error)
    assert (response.status_code, b"10.0.0.7" in response.content) == (503, False)


def test_an_unknown_failure_is_500_without_a_trace() -> None:
    """What nobody foresaw is one sentence."""
    assert answer_for(RuntimeError("secret")) == (500, "Something went wrong", (), {})
