"""The staff API of flags: merge, replace, conflicts, and bodies that are none."""

from __future__ import annotations

from typing import Any

import pytest

from flags.models import FeatureFlag, OrganizationFlag
from ledger.selectors import current_revision, list_audit
from tests.api_client import ApiClient, json_of
from tests.factories import NOW, Tenant, make_person, make_tenant, make_worker_group

pytestmark = pytest.mark.django_db

FLAGS = "/admin/api/v1/feature-flags"
KILL = "/admin/api/v1/migration/kill"
ON = "computeMigrationEnabled"
FREE = "computeMigrationFreePercentage"
PAID = "computeMigrationPaidPercentage"
ACCESS = "hasComputeAccess"
DEFAULT = "defaultWorkerInstanceGroupId"


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization."""
    return make_tenant(plan="free")


def of(tenant: Tenant, version: int = 1) -> str:
    """Give the path of an organization's flags."""
    return f"/admin/api/v{version}/orgs/{tenant.organization.id}/feature-flags"


def expecting(revision: object) -> dict[str, str]:
    """Give the header of a write that expects a revision."""
    return {"if-match": str(revision)}


def test_values_for_everyone_merge_and_null_unsets(staff: ApiClient) -> None:
    """Keys that are not given stay; the answer is the whole set and the revision it holds at."""
    made = json_of(staff.post(FLAGS, {ON: True, FREE: 25}))
    assert made == {"flags": {ON: True, FREE: 25}, "revision": current_revision()}
    assert json_of(staff.post(FLAGS, {FREE: None}))["flags"] == {ON: True}
    assert json_of(staff.get(FLAGS)) == {"flags": {ON: True}, "revision": current_revision()}


def test_a_write_that_changes_nothing_takes_no_revision(staff: ApiClient) -> None:
    """The answer is then the revision that was there, and no audit row is left."""
    first = json_of(staff.post(FLAGS, {FREE: 5}))
    again = json_of(staff.post(FLAGS, {FREE: 5, PAID: None}))
    assert again == first
    assert json_of(staff.post(FLAGS, {})) == first
    assert len(list_audit(key=FREE).rows) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (ON, "true"),
        (ON, 1),
        (ON, []),
        (FREE, 101),
        (FREE, -1),
        (FREE, 12.0),
        (FREE, 12.5),
        (FREE, "12"),
        (FREE, True),
        (FREE, 10**30),
        ("nothing", True),
        ("", True),
        ("computeMigrationEnabled ", True),
    ],
)
def test_one_wrong_value_refuses_the_whole_body(staff: ApiClient, key: str, value: object) -> None:
    """Nothing is coerced; the key is named, and the right values beside it are not saved."""
    before = current_revision()
    answer = json_of(staff.post(FLAGS, {PAID: 7, key: value}), 400)
    assert [problem["key"] for problem in answer["problems"]] == [key]
    assert answer["error"].startswith(f"{key}: ")
    assert json_of(staff.get(FLAGS)) == {"flags": {}, "revision": before}


def test_every_wrong_key_is_named(staff: ApiClient) -> None:
    """A person corrects them all at once."""
    answer = json_of(staff.post(FLAGS, {ON: "no", FREE: 200, "x": 1}), 400)
    assert [problem["key"] for problem in answer["problems"]] == [ON, FREE, "x"]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "Request body is empty"),
        (b"  \n", "Request body is empty"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b'{"x": NaN}', "Invalid JSON"),
        (b'{"x": ' + b"[" * 100_000, "Invalid JSON"),
        (b'{"x": ' + b"9" * 10_000 + b"}", "Invalid JSON"),
        (b"[]", "The request body is not a JSON object"),
        (b"null", "The request body is not a JSON object"),
        (b"true", "The request body is not a JSON object"),
        (b'"flags"', "The request body is not a JSON object"),
    ],
)
@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_body_that_is_no_object_is_refused(
    staff: ApiClient, tenant: Tenant, version: int, raw: bytes, error: str
) -> None:
    """What is no JSON object is 400 with a sentence, on all three calls, and changes nothing."""
    before = current_revision()
    path = of(tenant, version) if version else FLAGS
    assert json_of(staff.send("POST", path, raw=raw), 400)["error"] == error
    assert current_revision() == before


def test_the_default_group_has_to_be_a_shared_one(staff: ApiClient, tenant: Tenant) -> None:
    """A typing mistake must not refuse every run that names no region."""
    shared = make_worker_group()
    own = make_worker_group(project_ref=tenant.project.ref)
    before = json_of(staff.get(FLAGS))
    for group_id in ("wg_x", own.id, "\x00"):
        answer = json_of(staff.post(FLAGS, {DEFAULT: group_id, ON: True}), 400)
        assert answer["error"]
        assert json_of(staff.get(FLAGS)) == before
    assert json_of(staff.post(FLAGS, {DEFAULT: shared.id}))["flags"][DEFAULT] == shared.id


def test_a_key_given_twice_is_refused(staff: ApiClient) -> None:
    """Which of two values was meant cannot be known, so neither is taken."""
    raw = f'{{"{ON}": true, "{FREE}": 1, "{ON}": false}}'.encode()
    answer = json_of(staff.send("POST", FLAGS, raw=raw), 400)
    assert answer["problems"] == [{"key": ON, "message": "is given twice"}]
    assert json_of(staff.get(FLAGS))["flags"] == {}


@pytest.mark.parametrize("form", ["{}", '"{}"', " {} "])
def test_a_revision_may_be_bare_or_quoted(staff: ApiClient, form: str) -> None:
    """Both forms of `If-Match` mean the same."""
    seen = json_of(staff.post(FLAGS, {FREE: 1}))["revision"]
    headers = expecting(form.format(seen))
    assert json_of(staff.send("POST", FLAGS, {FREE: 2}, headers=headers))["flags"] == {FREE: 2}


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", '"1', '1"', '""', "*", 'W/"1"', "9" * 30])
def test_a_revision_that_is_none_is_refused(staff: ApiClient, text: str) -> None:
    """A malformed `If-Match` is never ignored: the caller meant to be protected by it."""
    answer = json_of(staff.send("POST", FLAGS, {FREE: 2}, headers=expecting(text)), 400)
    assert answer["error"].startswith("If-Match: ")
    assert json_of(staff.get(FLAGS))["flags"] == {}


def test_a_key_changed_meanwhile_is_a_conflict(staff: ApiClient) -> None:
    """409 names the key and must not be repeated; other keys of the same scope do not matter."""
    seen = expecting(json_of(staff.post(FLAGS, {FREE: 1, PAID: 1}))["revision"])
    json_of(staff.post(FLAGS, {FREE: 2}))
    refused = staff.send("POST", FLAGS, {FREE: 3, PAID: 3}, headers=seen)
    assert FREE in json_of(refused, 409)["error"]
    assert refused["x-should-retry"] == "false"
    assert json_of(staff.get(FLAGS))["flags"] == {FREE: 2, PAID: 1}
    assert json_of(staff.send("POST", FLAGS, {PAID: 3}, headers=seen))["flags"][PAID] == 3


def test_the_kill_switch_knows_no_conflict(staff: ApiClient) -> None:
    """It works without a revision, with a stale and with a malformed one, and leaves the dials."""
    json_of(staff.post(FLAGS, {ON: True, FREE: 50}))
    for headers in ({}, expecting(0), expecting("nonsense")):
        json_of(staff.post(FLAGS, {ON: True}))
        killed = json_of(staff.send("POST", KILL, {}, headers=headers))
        assert killed == {"revision": current_revision()}
        assert json_of(staff.get(FLAGS))["flags"] == {ON: False, FREE: 50}


def test_the_kill_switch_touches_no_override(staff: ApiClient, tenant: Tenant) -> None:
    """An organization that was forced in stays in; a second kill changes nothing."""
    json_of(staff.post(of(tenant), {ON: True}))
    first = json_of(staff.send("POST", KILL, raw=b""))
    assert json_of(staff.post(KILL, {})) == first
    assert json_of(staff.get(of(tenant)))["flags"] == {ON: True}


def test_the_kill_switch_takes_no_other_body(staff: ApiClient) -> None:
    """Whoever sends it something meant something else."""
    assert json_of(staff.post(KILL, {"org": "x"}), 400)["problems"][0]["key"] == "org"
    json_of(staff.send("POST", KILL, raw=b"{"), 400)
    assert json_of(staff.get(FLAGS))["flags"] == {}


def test_overrides_merge_with_version_one(staff: ApiClient, tenant: Tenant) -> None:
    """Keys that are not given stay, null unsets, other organizations are not touched."""
    other = make_tenant()
    json_of(staff.post(of(tenant), {ON: False, ACCESS: True}))
    merged = json_of(staff.post(of(tenant), {ON: None}))
    assert merged == {"flags": {ACCESS: True}, "revision": current_revision()}
    assert json_of(staff.get(of(tenant))) == merged
    assert json_of(staff.get(of(other)))["flags"] == {}


def test_overrides_are_replaced_with_version_two(staff: ApiClient, tenant: Tenant) -> None:
    """Keys that are not given go; each that changed is one row, all at one revision."""
    json_of(staff.post(of(tenant), {ON: False, ACCESS: True}))
    replaced = json_of(staff.post(of(tenant, 2), {ON: True}))
    assert replaced == {"flags": {ON: True}, "revision": current_revision()}
    rows = list_audit(org=tenant.organization.id, limit=2).rows
    assert {(row.key, row.old, row.new) for row in rows} == {
        (ON, False, True),
        (ACCESS, True, None),
    }
    assert {row.revision for row in rows} == {replaced["revision"]}
    assert json_of(staff.post(of(tenant, 2), {}))["flags"] == {}


def test_a_replacement_keeps_what_the_catalog_does_not_know(
    staff: ApiClient, tenant: Tenant
) -> None:
    """A flag of another version of the system is not the caller's to remove; a broken value goes."""
    for key, value in (("flagOfTomorrow", {"a": 1}), (ON, "true")):
        OrganizationFlag.objects.create(
            organization_id=tenant.organization.id, key=key, value=value, updated_at=NOW
        )
    assert json_of(staff.get(of(tenant, 2)))["flags"] == {}
    json_of(staff.post(of(tenant, 2), {ACCESS: True}))
    stored = OrganizationFlag.objects.filter(organization_id=tenant.organization.id)
    assert dict(stored.values_list("key", "value")) == {"flagOfTomorrow": {"a": 1}, ACCESS: True}


def test_a_replacement_conflicts_with_a_flag_it_would_remove(
    staff: ApiClient, tenant: Tenant
) -> None:
    """Leaving a key out says that it is to go, so a change of it meanwhile is a conflict."""
    seen = expecting(json_of(staff.get(of(tenant, 2)))["revision"])
    json_of(staff.post(of(tenant), {ACCESS: True}))
    refused = json_of(staff.send("POST", of(tenant, 2), {ON: True}, headers=seen), 409)
    assert ACCESS in refused["error"]
    json_of(staff.send("POST", of(tenant), {ON: True}, headers=seen))


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_for_everyone_only_cannot_be_overridden(
    staff: ApiClient, tenant: Tenant, version: int
) -> None:
    """It would look like a setting and do nothing."""
    answer = json_of(staff.post(of(tenant, version), {FREE: 5}), 400)
    assert [problem["key"] for problem in answer["problems"]] == [FREE]


@pytest.mark.parametrize("version", [1, 2])
def test_an_unknown_organization_is_404(staff: ApiClient, version: int) -> None:
    """For reading as for writing."""
    path = f"/admin/api/v{version}/orgs/org_x/feature-flags"
    json_of(staff.get(path), 404)
    json_of(staff.post(path, {ON: True}), 404)
    json_of(staff.post(path.replace("org_x", "org%00"), {ON: True}), 400)


def test_a_broken_stored_value_hides_no_other(staff: ApiClient) -> None:
    """It counts as unset, and can be set."""
    FeatureFlag.objects.create(key=ON, value="yes", updated_at=NOW)
    FeatureFlag.objects.create(key=PAID, value=9, updated_at=NOW)
    assert json_of(staff.get(FLAGS))["flags"] == {PAID: 9}
    assert json_of(staff.post(FLAGS, {ON: True}))["flags"] == {ON: True, PAID: 9}


def test_a_write_is_recorded_with_who_why_and_which_request(staff: ApiClient) -> None:
    """The reason and the request's id come from headers."""
    headers = {"x-reason": "incident 7", "x-request-id": "req-9"}
    json_of(staff.send("POST", KILL, {}, headers=headers))
    row: Any = list_audit(key=ON).rows[0]
    assert (row.scope, row.new, row.reason, row.request_id) == (
        "global",
        False,
        "incident 7",
        "req-9",
    )
    assert row.actor.startswith("token:person")
