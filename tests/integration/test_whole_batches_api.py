"""Batches in one request, as older clients send them; and what pages of any origin may call."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api_client import ApiClient, json_of
from tests.batching import BATCHES, read, run_count
from tests.running import World, check_books, make_world, race, rows_of, run_of
from webapp.api.cross_origin import OPEN_ROUTES
from webapp.api.whole_batches import MAX_ITEMS
from webapp.middleware import MIB, body_limit

pytestmark = pytest.mark.django_db

WHOLE = "/api/v2/tasks/batch"
REQUEST_KEY = "x-trigger-request-idempotency-key"


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def whole(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Give a body with these items of the task that every world has."""
    return {"items": [{"task": "hello", **item} for item in items], **fields}


def test_its_items_are_runs_in_their_order(world: World) -> None:
    """202 with the id and the count, and the claims of a token that may read it."""
    bodies = [{"payload": {"n": n}, "options": {"tags": [f"t{n}"]}} for n in range(3)]
    answer = world.api.post(WHOLE, whole(*bodies))
    made = json_of(answer, 202)
    assert made == {"id": made["id"], "runCount": 3}
    assert f'"read:batch:{made["id"]}"' in answer["x-trigger-jwt-claims"]
    batch = read(world.api, made["id"])
    runs = [run_of(run_id) for run_id in batch["runs"]]
    assert [(run.payload, run.tags) for run in runs] == [
        (f'{{"n":{n}}}', [f"t{n}"]) for n in range(3)
    ]
    assert {run.trigger_function for run in runs} == {"batchTrigger"}
    assert [world.lease_one().run.friendlyId for _ in runs] == batch["runs"]
    check_books()


def test_a_repeated_request_makes_nothing_new(world: World) -> None:
    """By its request key or by the batch's own key: the first one's runs, whatever is sent now."""
    for name in (REQUEST_KEY, "idempotency-key"):
        sent = [
            world.api.send("POST", WHOLE, whole(*[{}] * count), headers={name: "k"})
            for count in (2, 2, 3)
        ]
        first, *others = (json_of(one, 202) for one in sent)
        assert others == [first, first]
    assert run_count() == 4


def test_what_was_cut_off_is_finished_by_the_repeat(world: World) -> None:
    """A process that died between the batch and its items left an empty one behind."""
    headers = {REQUEST_KEY: "k"}
    empty = {"runCount": 2, "taskIdentifiers": ["hello"]}
    begun = json_of(world.api.send("POST", BATCHES, empty, headers=headers), 202)
    made = json_of(world.api.send("POST", WHOLE, whole({}, {}), headers=headers), 202)
    assert made["id"] == begun["id"]
    assert len(read(world.api, made["id"])["runs"]) == 2


def test_what_is_refused_fails_its_item_alone(world: World) -> None:
    """The others run; the batch says which and why."""
    bodies: list[dict[str, Any]] = [{}, {"options": {"region": "nowhere"}}]
    bodies.append({"options": {"debounce": {"key": "k"}}})
    made = json_of(world.api.post(WHOLE, whole(*bodies)), 202)
    batch = read(world.api, made["id"])
    assert (len(batch["runs"]), batch["status"]) == (1, "PARTIAL_FAILED")
    assert [error["index"] for error in batch["processing"]["errors"]] == [1, 2]


@pytest.mark.parametrize(
    ("body", "status", "key"),
    [
        ({}, 400, "items"),
        ({"items": []}, 400, "items"),
        ({"items": [{"task": "hello"}] * (MAX_ITEMS + 1)}, 400, "items"),
        ({"items": [{"payload": 1}]}, 400, "items.0.task"),
        (whole({}, {"options": {"machine": "huge"}}), 400, "items.1.options.machine"),
        (whole({}, {"options": {"payloadType": "text/x"}}), 400, "items.1.options.payloadType"),
    ],
)
def test_wrong_shapes_make_nothing(
    world: World, body: dict[str, Any], status: int, key: str
) -> None:
    """The problem names the field, with the place of its item."""
    problems = json_of(world.api.post(WHOLE, body), status)["problems"]
    assert [problem["key"] for problem in problems] == [key]
    assert (run_count(), rows_of("SELECT 1 FROM runs_batch")) == (0, [])


def test_nothing_is_made_of_what_cannot_be(world: World) -> None:
    """A key that is too long, a parent that waits or is another's, a body beyond the limit."""
    body = whole({})
    too_long = world.api.send("POST", WHOLE, body, headers={"idempotency-key": "x" * 2049})
    assert json_of(too_long, 400)["problems"][0]["key"] == "idempotency-key"
    json_of(world.api.post(WHOLE, {**body, "resumeParentOnCompletion": True}), 422)
    json_of(world.api.post(WHOLE, {**body, "parentRunId": "run_nothing"}), 404)
    assert body_limit(WHOLE) == MIB
    assert (run_count(), rows_of("SELECT 1 FROM runs_batch")) == (0, [])


@pytest.mark.django_db(transaction=True)
def test_many_with_one_key_make_one(world: World) -> None:
    """Eight callers at one moment: one batch, its items once."""

    def _send(_number: int) -> str:
        answer = world.api.send("POST", WHOLE, whole({}, {}), headers={"idempotency-key": "k"})
        return str(json_of(answer, 202)["id"])

    (batch_id,) = set(race(8, _send))
    assert len(read(world.api, batch_id)["runs"]) == run_count() == 2


@pytest.mark.parametrize("route", sorted(OPEN_ROUTES))
def test_browsers_may_call(world: World, route: str) -> None:
    """The preflight is answered without a key, and any answer, an error too, may be read."""
    path = "/" + re.sub("<[^>]*>", "unknown", route)
    preflight = ApiClient().send("OPTIONS", path)
    assert (preflight.status_code, preflight["Access-Control-Allow-Origin"]) == (204, "*")
    for method in ("GET", "POST"):
        answer = ApiClient("wrong").send(method, path, {})
        assert answer.status_code in {401, 405}
        assert answer["Access-Control-Allow-Origin"] == "*"


def test_browsers_may_not_call_the_rest(world: World) -> None:
    """No other route says anything about origins."""
    for path in ("/api/v1/queues", "/admin/api/v1/orgs", "/engine/v1/worker-actions/dequeue"):
        answer = ApiClient().send("OPTIONS", path)
        assert (answer.status_code, answer.has_header("Access-Control-Allow-Origin")) == (
            405,
            False,
        )
