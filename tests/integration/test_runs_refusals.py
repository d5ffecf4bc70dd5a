"""Bad input and lost dependencies: one error body, the right status, nothing half-written."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest

from tests.api_client import ApiClient, json_of
from tests.running import Supervisor, World, make_world, rows_of
from webapp.middleware import BodyLimit

pytestmark = pytest.mark.django_db

TRIGGER = "/api/v1/tasks/hello/trigger"
MAX_BODY = 3_145_728


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def written() -> list[tuple[Any, ...]]:
    """Count what a trigger writes."""
    return rows_of(
        "SELECT (SELECT count(*) FROM runs_taskrun), (SELECT count(*) FROM runs_runsnapshot),"
        " (SELECT count(*) FROM runs_readyentry), (SELECT count(*) FROM runs_idempotencykey),"
        " (SELECT count(*) FROM runs_requestkey), (SELECT count(*) FROM runs_lane)"
    )


NOTHING = [(0,) * 6]


@pytest.mark.parametrize(
    ("raw", "status", "named"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "JSON"),
        (b'{"payload": NaN}', 400, "payload"),
        (b"[]", 400, "body"),
        (b'{"options":{"tags":5}}', 400, "options.tags"),
        (b'{"options":{"machine":["micro"]}}', 400, "options.machine"),
        (b'{"options":{"region":"nowhere"}}', 422, "nowhere"),
        (b'{"options":{"lockToVersion":"1"}}', 422, "lockToVersion"),
        (b'{"options":{"tags":["1","2","3","4","5","6","7","8","9","10","11"]}}', 422, "tags"),
        (b'{"options":{"parentRunId":"run_x"}}', 404, "run_x"),
    ],
)
def test_a_refused_trigger_writes_nothing(
    world: World, raw: bytes, status: int, named: str
) -> None:
    """The error names what is wrong, and no key is taken: the corrected call goes through."""
    headers = {"idempotency-key": "k", "x-trigger-request-idempotency-key": "r"}
    answer = world.api.send("POST", TRIGGER, raw=raw, headers=headers)
    body = json_of(answer, status)
    assert named in body["error"]
    assert set(body) <= {"error", "problems"}
    assert written() == NOTHING
    again = world.api.send("POST", TRIGGER, {}, headers=headers)
    assert json_of(again)["isCached"] is False


@pytest.mark.parametrize(
    ("path", "raw", "key"),
    [
        ("/api/v2/tasks/batch", rb'{"items":[{"task":"\ud800"}]}', "items.0.task"),
        ("/api/v3/batches", rb'{"runCount":1,"parentRunId":"\ud800"}', "parentRunId"),
        ("/api/v3/batches", rb'{"runCount":1,"parentRunId":"\u0000"}', "parentRunId"),
    ],
)
def test_what_cannot_be_stored_is_named(world: World, path: str, raw: bytes, key: str) -> None:
    """NUL and half a character are a caller's mistake in one field, not a failure of ours."""
    told = json_of(world.api.send("POST", path, raw=raw), 400)
    assert [problem["key"] for problem in told["problems"]] == [key]
    assert key in told["error"]
    assert written() == NOTHING


def test_the_largest_body_is_taken(world: World) -> None:
    """Three megabytes come through whole."""
    frame = len(json.dumps({"payload": ""}))
    payload = "x" * (MAX_BODY - frame)
    made = json_of(world.api.post(TRIGGER, {"payload": payload}))
    assert json_of(world.api.get(f"/api/v3/runs/{made['id']}"))["payload"] == payload


@pytest.mark.parametrize(
    "length", [{"CONTENT_LENGTH": str(MAX_BODY + 1)}, {"HTTP_TRANSFER_ENCODING": "chunked"}]
)
def test_one_byte_more_is_too_large(length: dict[str, str]) -> None:
    """A larger body is 413, as JSON, before anything else reads it, chunked or not."""
    said: list[str] = []
    environ = {"PATH_INFO": TRIGGER, "wsgi.input": BytesIO(b" " * (MAX_BODY + 1)), **length}
    answer = BodyLimit(never_reached)(environ, lambda status, _headers: said.append(status))
    assert "Request body too large" in json.loads(b"".join(answer))["error"]
    assert said == ["413 Content Too Large"]


def never_reached(_environ: dict[str, Any], _start_response: object) -> list[bytes]:
    """Stand where Django stands behind the limit."""
    pytest.fail("a body that is too large got through")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", TRIGGER),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v3/runs/run_1"),
        ("POST", "/api/v2/runs/run_1/cancel"),
        ("POST", "/api/v1/runs/run_1/replay"),
        ("POST", "/api/v1/runs/run_1/tags"),
        ("GET", "/api/v1/runs/run_1/result"),
        ("GET", "/api/v1/runs/run_1/logs"),
        ("POST", "/engine/v1/worker-actions/dequeue"),
        ("POST", "/engine/v1/dev/dequeue"),
    ],
)
def test_without_a_key_nobody_is_known(world: World, method: str, path: str) -> None:
    """Missing, unknown and another kind of credential are 401, before anything else is looked at."""
    for bearer in (None, "", "tr_prod_nobody", "x" * 5000, world.token):
        if path.startswith("/engine/v1/worker-actions") and bearer == world.token:
            continue
        answer = ApiClient(bearer).send(method, path, raw=b"{")
        assert set(json_of(answer, 401)) == {"error"}
    assert written() == NOTHING


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", TRIGGER),
        ("PUT", TRIGGER),
        ("DELETE", "/api/v1/runs"),
        ("POST", "/api/v3/runs/run_1"),
        ("GET", "/api/v2/runs/run_1/cancel"),
        ("GET", "/engine/v1/worker-actions/dequeue"),
    ],
)
def test_a_wrong_method_is_said_as_json(world: World, method: str, path: str) -> None:
    """405 with the methods there are."""
    answer = world.api.send(method, path, {})
    assert "error" in json_of(answer, 405)
    assert answer["Allow"]


def test_an_unknown_path_is_said_as_json(world: World) -> None:
    """404 like every other error."""
    for path in ("/api/v9/runs", "/api/v1/tasks//trigger", "/engine/v1/nothing"):
        assert set(json_of(world.api.get(path), 404)) == {"error"}


def test_browsers_may_trigger(world: World) -> None:
    """The preflight of a page of any origin is answered, and the answer may be read there."""
    preflight = ApiClient().send("OPTIONS", TRIGGER)
    assert (preflight.status_code, preflight["Access-Control-Allow-Origin"]) == (204, "*")
    assert world.api.post(TRIGGER, {})["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"a":NaN}', b"\xff"])
def test_worker_routes_refuse_what_is_no_json_object(world: World, raw: bytes) -> None:
    """400 in one body, for supervisors as for customers."""
    world.trigger()
    answer = Supervisor(world).send("POST", "/engine/v1/worker-actions/dequeue", raw=raw)
    assert set(json_of(answer, 400)) <= {"error", "problems"}
    assert rows_of("SELECT count(*) FROM runs_lease") == [(0,)]


@pytest.mark.parametrize("count", [0, -1, "x", 1.5, 101, None])
def test_a_wrong_count_names_its_field(world: World, count: object) -> None:
    """400 that names the field."""
    answer = json_of(Supervisor(world).act("dequeue", {"maxRunCount": count}), 400)
    assert answer["problems"][0]["key"] == "maxRunCount"
