"""The deployment calls, as an author's tool makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from deployments.environment_entry import load_entry
from tests.deploying import Author, digest_of, events_in, metadata, task
from tests.factories import Tenant, make_tenant

if TYPE_CHECKING:
    from django.test import Client
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db

REQUEST_KEY = "x-trigger-request-idempotency-key"
UNKNOWN = "deployment_0000000000000000000000000"


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization to deploy in."""
    return make_tenant()


@pytest.fixture
def author(client: Client, tenant: Tenant) -> Author:
    """Give an author of its production environment."""
    return Author(client, tenant.keys["prod"])


def current_version(tenant: Tenant, slug: str = "prod") -> str | None:
    """Give the version new runs of an environment use, read anew."""
    entry = load_entry(tenant.environments[slug].id)
    assert entry is not None
    return entry.version


def assert_conflict(answer: Answer) -> None:
    """Check that clients are told and will not repeat the call."""
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert set(answer.json()) == {"error"}


def test_a_deployment_begins_with_the_next_version_of_its_day(author: Author) -> None:
    """The answer names the version, an image tag and nothing that is unset."""
    first, second = author.start(), author.start()
    assert set(first) == {
        *("id", "contentHash", "shortCode", "version"),
        *("imageTag", "imagePlatform", "outcome", "isPromoted"),
    }
    assert first["id"].startswith("deployment_")
    assert first["version"].partition(".")[2] == "1"
    assert second["version"].partition(".")[2] == "2"
    assert (first["outcome"], first["isPromoted"]) == ("created", False)


def test_a_call_whose_answer_was_lost_begins_one_deployment(
    author: Author, client: Client, tenant: Tenant
) -> None:
    """The same request key gets the same deployment, whatever has become of it; in its environment."""
    path, body, key = "/api/v1/deployments", {"contentHash": "hash-1"}, {REQUEST_KEY: "once"}
    first = author.post(path, body, **key).json()
    assert author.post(path, body, **key).json() == first
    author.post(f"{path}/{first['id']}/cancel")
    assert author.post(path, body, **key).json()["id"] == first["id"]
    other = Author(client, tenant.keys["stg"]).post(path, body, **key).json()
    fresh = [author.start(), author.start(), author.post(path, body, **{REQUEST_KEY: "2"}).json()]
    assert len({one["id"] for one in (first, other, *fresh)}) == 5
    assert len(author.get(path).json()["data"]) == 4


def test_a_deployment_with_an_artifact_is_an_image_of_its_content(
    author: Author, tenant: Tenant
) -> None:
    """The image names project, version and the first twelve digits of the content."""
    digest = digest_of(b"code")
    started = author.start(artifactKey=digest)
    image = f"crossfade/{tenant.project.ref}:{started['version']}-{digest[7:19]}"
    assert started["imageTag"] == image
    assert author.get(f"/api/v1/deployments/{started['id']}").json()["imageReference"] == image


def test_the_steps_of_a_deploy_are_visible(author: Author) -> None:
    """Reading the deployment shows its state, then its tasks, then that it is done."""
    started = author.start(runtime="python", runtimeVersion="3.11.7")
    path = f"/api/v1/deployments/{started['id']}"
    before = author.get(path).json()
    assert before["status"] == "BUILDING"
    assert not {"worker", "imageReference", "errorData", "externalId"} & set(before)
    registered = author.register(started["id"], metadata(task("b"), task("a"))).json()
    assert set(registered) == {"id", "version", "contentHash"}
    assert author.get(path).json()["status"] == "DEPLOYING"
    assert author.finalize(started["id"]).json() == {"id": started["id"]}
    after = author.get(path).json()
    assert after["status"] == "DEPLOYED"
    assert [t["slug"] for t in after["worker"]["tasks"]] == ["a", "b"]
    assert set(after["worker"]["tasks"][0]) == {"id", "slug", "filePath", "exportName"}


def test_a_finalized_version_is_the_current_one(author: Author, tenant: Tenant) -> None:
    """New runs use what was deployed last."""
    assert author.get("/api/v1/deployments/current").status_code == 404
    first = author.deploy()
    second = author.deploy()
    shown = author.get("/api/v1/deployments/current").json()
    assert (shown["id"], shown["status"]) == (second["id"], "DEPLOYED")
    assert current_version(tenant) == second["version"] != first["version"]


def test_finalizing_again_changes_nothing(author: Author, tenant: Tenant) -> None:
    """A repeat gives the same answer, also when a newer version is current by then."""
    first = author.deploy()
    second = author.deploy()
    assert author.finalize(first["id"]).json() == {"id": first["id"]}
    assert current_version(tenant) == second["version"]


def test_a_version_finalized_late_does_not_go_back(author: Author, tenant: Tenant) -> None:
    """Of two deploys under way the newer version wins, whichever ends last."""
    older, newer = author.start(), author.start()
    for started in (newer, older):
        author.register(started["id"])
        author.finalize(started["id"])
    assert current_version(tenant) == newer["version"]
    assert author.get(f"/api/v1/deployments/{older['id']}").json()["status"] == "DEPLOYED"


@pytest.mark.parametrize(
    ("begun", "finalized"), [({"skipPromotion": True}, {}), ({}, {"skipPromotion": True})]
)
def test_promotion_may_be_skipped(
    author: Author, tenant: Tenant, begun: dict[str, Any], finalized: dict[str, Any]
) -> None:
    """Said at the beginning or at the end, the version is deployed and not current."""
    started = author.start(**begun)
    author.register(started["id"])
    assert author.finalize(started["id"], **finalized).status_code == 200
    assert current_version(tenant) is None


def test_a_version_can_be_promoted_and_rolled_back(author: Author, tenant: Tenant) -> None:
    """Back to an older version only with `allowRollbacks`; again changes nothing."""
    older, newer = author.deploy(), author.deploy()
    path = f"/api/v1/deployments/{older['version']}/promote"
    refused = author.post(path)
    assert (refused.status_code, current_version(tenant)) == (400, newer["version"])
    assert "older" in refused.json()["error"]
    for _ in range(2):
        answer = author.post(f"{path}?allowRollbacks=true")
        assert answer.json() == {k: older[k] for k in ("id", "version", "shortCode")}
        assert current_version(tenant) == older["version"]
    assert author.post(f"/api/v1/deployments/{newer['version']}/promote").status_code == 200
    assert current_version(tenant) == newer["version"]


def test_an_unfinished_version_cannot_be_promoted(author: Author) -> None:
    """Only what is deployed may become current; an unknown version is not found."""
    started = author.start()
    refused = author.post(f"/api/v1/deployments/{started['version']}/promote")
    assert (refused.status_code, "DEPLOYED" in refused.json()["error"]) == (400, True)
    assert author.post("/api/v1/deployments/20200101.1/promote").status_code == 404


def test_registering_again_gives_the_same_version(author: Author) -> None:
    """A repeated call is answered as the first; other tasks are refused."""
    started = author.start()
    first = author.register(started["id"])
    assert author.register(started["id"]).json() == first.json()
    assert_conflict(author.register(started["id"], metadata(task("other"))))


def test_a_failed_deployment_says_why(author: Author) -> None:
    """The error is kept and shown, repeating it changes nothing, and the deployment is over."""
    started = author.start()
    error = {"name": "ImportError", "message": "no module named x", "stack": "Traceback"}
    for _ in range(2):
        answer = author.post(f"/api/v1/deployments/{started['id']}/fail", {"error": error})
        assert answer.json() == {"id": started["id"]}
    shown = author.get(f"/api/v1/deployments/{started['id']}").json()
    assert (shown["status"], shown["errorData"]) == ("FAILED", error)
    assert_conflict(author.register(started["id"]))
    assert_conflict(author.finalize(started["id"]))


def test_a_deployment_can_be_canceled(author: Author) -> None:
    """With or without a reason, once or twice; a finished one cannot."""
    started = author.start()
    path = f"/api/v1/deployments/{started['id']}/cancel"
    assert author.post(path, {"reason": "typo"}).status_code == 204
    assert author.post(path).status_code == 204
    assert author.get(f"/api/v1/deployments/{started['id']}").json()["status"] == "CANCELED"
    done = author.deploy()
    assert_conflict(author.post(f"/api/v1/deployments/{done['id']}/cancel"))


def test_a_waiting_deployment_progresses_step_by_step(author: Author) -> None:
    """PENDING, INSTALLING, BUILDING, and then there is nothing to progress to."""
    started = author.start(initialStatus="PENDING")
    path = f"/api/v1/deployments/{started['id']}"
    seen = [author.get(path).json()["status"]]
    for _ in range(2):
        assert author.post(f"{path}/progress").status_code == 204
        seen.append(author.get(path).json()["status"])
    assert seen == ["PENDING", "INSTALLING", "BUILDING"]
    assert_conflict(author.post(f"{path}/progress"))


def test_building_may_be_announced_twice(author: Author) -> None:
    """A waiting deployment starts building, and a repeat of that is no mistake."""
    started = author.start(initialStatus="PENDING")
    path = f"/api/v1/deployments/{started['id']}/start-building"
    assert [author.post(path).status_code for _ in range(2)] == [204, 204]


def test_an_external_id_is_deployed_once(author: Author) -> None:
    """The same id gives the deployment that exists, unless another is forced."""
    done = author.deploy(externalId="commit-1")
    again = author.start(externalId="commit-1")
    assert (again["id"], again["outcome"], again["isPromoted"]) == (done["id"], "existing", True)
    forced = author.start(externalId="commit-1", force=True)
    assert (forced["outcome"], forced["externalId"]) == ("created", "commit-1")
    assert forced["id"] != done["id"]


def test_a_new_deployment_of_an_external_id_cancels_the_unfinished_one(author: Author) -> None:
    """The newer deploy takes the place of the one under way, and is told so."""
    first = author.start(externalId="commit-1")
    second = author.start(externalId="commit-1")
    assert [c["id"] for c in second["canceledDeployments"]] == [first["id"]]
    assert_conflict(author.register(first["id"]))


@pytest.mark.parametrize(
    ("step", "body"),
    [
        ("/background-workers", {"metadata": metadata()}),
        ("/progress", None),
        ("/start-building", None),
        ("/fail", {"error": {"name": "E", "message": "m"}}),
        ("/cancel", None),
    ],
)
def test_only_the_own_environment_is_found(
    client: Client, author: Author, step: str, body: Any
) -> None:
    """Unknown, another tenant's and another environment's deployment are one and the same 404."""
    stranger = make_tenant()
    strangers = [Author(client, stranger.keys[slug]).start()["id"] for slug in ("prod", "stg")]
    for deployment_id in (UNKNOWN, *strangers):
        path = f"/api/v1/deployments/{deployment_id}"
        for answer in (author.get(path), author.post(f"{path}{step}", body)):
            assert answer.status_code == 404
            expected = f'There is no deployment "{deployment_id}" in this environment'
            assert answer.json() == {"error": expected}


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_only_the_own_environment_is_finalized(
    client: Client, author: Author, version: str
) -> None:
    """Finalizing what is not found, or not ready, is a plain answer and no stream."""
    stranger = Author(client, make_tenant().keys["prod"]).start()
    assert (
        author.post(f"/api/{version}/deployments/{stranger['id']}/finalize", {}).status_code == 404
    )
    started = author.start()
    assert_conflict(author.post(f"/api/{version}/deployments/{started['id']}/finalize", {}))


def test_a_call_without_a_key_is_refused(client: Client) -> None:
    """Each call wants an environment's key."""
    for key in ("", "tr_prod_" + "x" * 40):
        author = Author(client, key)
        assert author.get("/api/v1/deployments").status_code == 401
        assert author.post("/api/v1/deployments", {"contentHash": "x"}).status_code == 401
        assert author.announce().status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "contentHash"),
        ({"contentHash": 3}, "contentHash"),
        ({"contentHash": "x", "artifactKey": "sha256:12"}, "artifactKey"),
        ({"contentHash": "x", "initialStatus": "DEPLOYED"}, "initialStatus"),
        ({"contentHash": "x", "skipPromotion": "yes"}, "skipPromotion"),
        ({"contentHash": "x", "externalId": "x" * 129}, "externalId"),
        ({"contentHash": "x", "gitMeta": []}, "gitMeta"),
    ],
)
def test_a_bad_field_is_named(author: Author, body: dict[str, Any], field: str) -> None:
    """A wrong shape is a 400 with the field, and nothing begins."""
    answer = author.post("/api/v1/deployments", body)
    assert answer.status_code == 400
    assert answer.json()["problems"][0]["key"] == field
    assert field in answer.json()["error"]
    assert author.get("/api/v1/deployments").json()["data"] == []


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
@pytest.mark.parametrize("field", ["contentHash", "gitMeta", "triggeredVia"])
def test_a_text_no_database_holds_is_named(author: Author, field: str, text: str) -> None:
    """A NUL character or half a surrogate pair is the caller's mistake, however deep it stands."""
    value = {"commit": {"message": [text]}} if field == "gitMeta" else text
    answer = author.post("/api/v1/deployments", {"contentHash": "x", field: value})
    assert (answer.status_code, answer.json()["problems"][0]["key"]) == (400, field)


def test_a_path_no_database_holds_is_refused(author: Author) -> None:
    """A NUL character in a path is no reason to fail."""
    assert author.get("/api/v1/deployments/x%00").status_code == 400


def test_a_bad_task_is_named_and_nothing_is_registered(author: Author) -> None:
    """One wrong task among good ones refuses the whole registration."""
    started = author.start()
    refused = author.register(
        started["id"], metadata(task("a"), task("b", machine={"preset": "x"}))
    )
    assert refused.status_code == 400
    assert refused.json()["problems"][0]["key"] == "metadata.tasks.1.machine"
    assert author.get(f"/api/v1/deployments/{started['id']}").json()["status"] == "BUILDING"


def test_malformed_json_is_refused(author: Author, client: Client) -> None:
    """A body that is no JSON is a 400, and an unmanaged deployment a 422."""
    broken = client.post(
        "/api/v1/deployments", "{", content_type="application/json", headers=author.headers
    )
    assert (broken.status_code, broken.json()["error"]) == (400, "Invalid JSON")
    assert author.post("/api/v1/deployments", {"contentHash": "x", "type": "V1"}).status_code == 422


def test_deployments_are_listed_newest_first_in_pages(author: Author) -> None:
    """Cursors lead forth and back over every deployment once; no null is in the answer."""
    ids = [author.start()["id"] for _ in range(7)][::-1]
    first = author.get("/api/v1/deployments", **{"page[size]": 5}).json()
    assert [item["id"] for item in first["data"]] == ids[:5]
    assert set(first["pagination"]) == {"next"}
    cursor = first["pagination"]["next"]
    second = author.get("/api/v1/deployments", **{"page[size]": 5, "page[after]": cursor}).json()
    assert [item["id"] for item in second["data"]] == ids[5:]
    assert set(second["pagination"]) == {"previous"}
    back = {"page[size]": 5, "page[after]": cursor, "page[before]": ids[5]}
    assert author.get("/api/v1/deployments", **back).json()["data"] == first["data"]


def test_an_item_of_the_list_has_the_fields_of_the_protocol(author: Author) -> None:
    """`deployedAt` and `git` are left out while unset, runtime is null while unknown."""
    author.start()
    author.deploy(gitMeta={"commitRef": "main"}, runtime="python", runtimeVersion="3.11")
    done, begun = author.get("/api/v1/deployments").json()["data"]
    common = {"id", "createdAt", "shortCode", "version", "status", "runtime", "runtimeVersion"}
    assert set(begun) == common
    assert (begun["runtime"], begun["runtimeVersion"]) == (None, None)
    assert set(done) == {*common, "deployedAt", "git"}
    assert done["createdAt"].endswith("Z")


def test_the_list_can_be_narrowed(author: Author) -> None:
    """By status, by period and by moments."""
    begun, done = author.start(), author.deploy()

    def ids(**query: str) -> list[str]:
        return [item["id"] for item in author.get("/api/v1/deployments", **query).json()["data"]]

    year_ago = datetime.now(UTC).year - 1
    assert ids(status="DEPLOYED") == [done["id"]]
    assert ids(status="DEPLOYED,BUILDING") == [done["id"], begun["id"]]
    assert ids(period="1h") == [done["id"], begun["id"]]
    assert ids(**{"from": f"{year_ago}-01-01", "to": f"{year_ago}-06-01T00:00:00Z"}) == []
    assert ids(**{"from": "0"}) == [done["id"], begun["id"]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "DONE"}, "status"),
        ({"period": "soon"}, "period"),
        ({"from": "yesterday"}, "from"),
        ({"page[size]": "0"}, "page[size]"),
        ({"page[size]": "x"}, "page[size]"),
    ],
)
def test_a_bad_query_is_named(author: Author, query: dict[str, str], field: str) -> None:
    """A wrong query key is a 400 that names it."""
    answer = author.get("/api/v1/deployments", **query)
    assert (answer.status_code, answer.json()["problems"][0]["key"]) == (400, field)


def test_development_registers_without_a_deployment(client: Client, tenant: Tenant) -> None:
    """A version of the development environment is current at once, and kept while it is the same."""
    author = Author(client, tenant.keys["dev"])
    path = f"/api/v1/projects/{tenant.project.ref}/background-workers"
    first = author.post(path, {"metadata": metadata()}).json()
    assert author.post(path, {"metadata": metadata()}).json() == first
    changed = author.post(path, {"metadata": metadata(task("other"))}).json()
    assert changed["version"] != first["version"]
    assert current_version(tenant, "dev") == changed["version"]
    assert author.get("/api/v1/deployments/current").status_code == 404


def test_only_a_development_key_of_the_project_registers_so(client: Client, tenant: Tenant) -> None:
    """Another kind of key is refused, another project is not found."""
    body = {"metadata": metadata()}
    path = f"/api/v1/projects/{tenant.project.ref}/background-workers"
    assert Author(client, tenant.keys["prod"]).post(path, body).status_code == 403
    stranger = make_tenant()
    assert Author(client, stranger.keys["dev"]).post(path, body).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_finalizing_streams_its_progress(author: Author, tenant: Tenant) -> None:
    """The stream opens with a log line and ends with the deployment's id; again as well."""
    started = author.start()
    author.register(started["id"])
    for _ in range(2):
        answer = author.post(f"/api/v3/deployments/{started['id']}/finalize", {})
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "no-transform" in answer.headers["cache-control"]
        assert events_in(answer) == [
            ("log", {"message": f"Finalizing version {started['version']}"}),
            ("complete", {"id": started["id"]}),
        ]
    assert current_version(tenant) == started["version"]


@pytest.mark.django_db(transaction=True)
def test_a_stream_tells_what_is_missing(author: Author, tenant: Tenant) -> None:
    """A deployment whose artifact never came is refused in the stream and stays as it is."""
    digest = digest_of(b"never sent")
    started = author.start(artifactKey=digest)
    author.register(started["id"])
    answer = author.post(f"/api/v3/deployments/{started['id']}/finalize", {})
    assert events_in(answer)[-1] == (
        "error",
        {"error": f"The artifact {digest} has not been uploaded", "status": 422},
    )
    assert current_version(tenant) is None
    assert author.finalize(started["id"]).status_code == 422
