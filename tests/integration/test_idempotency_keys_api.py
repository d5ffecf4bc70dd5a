"""Forgetting an idempotency key, and forgetting old ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from runs.reconcilers import KEY_BATCH, forget_old_keys
from tests.api_client import ApiClient, json_of
from tests.factories import make_tenant
from tests.running import World, change, make_world, rows_of, run_of, task

pytestmark = pytest.mark.django_db

HASH = "a" * 64
SECONDS_AGO = "now() - interval '1 second'"


@pytest.fixture
def world(db: None) -> World:
    """Give a world with two tasks."""
    return make_world(task("hello"), task("other"))


def forget(client: ApiClient, key: str = HASH, status: int = 200, slug: str = "hello") -> Any:
    """Ask to forget a key."""
    path = f"/api/v1/idempotencyKeys/{key}/reset"
    return json_of(client.post(path, {"taskIdentifier": slug}), status)


def test_a_key_that_was_forgotten_makes_a_new_run(world: World) -> None:
    """Once; the run that held it goes on, and ends without taking the key from its successor."""
    first = world.trigger(idempotency_key=HASH)
    assert forget(world.api) == {"id": HASH}
    assert "error" in forget(world.api, status=404)
    second = world.trigger(idempotency_key=HASH)
    assert second != first
    run_id, snapshot = world.started()
    world.complete(run_id, snapshot)
    assert (run_id, run_of(first).status) == (first, "COMPLETED_SUCCESSFULLY")
    assert world.trigger(idempotency_key=HASH) == second


def test_only_the_key_that_was_named_is_forgotten(world: World) -> None:
    """Not the same key of another task, of another environment or of another tenant."""
    staging = world.in_environment(world.tenant, "stg")
    runs = [
        world.trigger(idempotency_key=HASH),
        world.trigger("other", idempotency_key=HASH),
        staging.trigger(idempotency_key=HASH),
    ]
    for key in (make_tenant().keys["prod"], world.tenant.keys["dev"]):
        forget(ApiClient(key), status=404)
    forget(world.api, "b" * 64, 404)
    forget(world.api, slug="unknown", status=404)
    forget(world.api)
    assert world.trigger(idempotency_key=HASH) != runs[0]
    assert world.trigger("other", idempotency_key=HASH) == runs[1]
    assert staging.trigger(idempotency_key=HASH) == runs[2]


def test_a_key_whose_time_is_over_is_held_by_nobody(world: World) -> None:
    """It need not be forgotten: 404."""
    world.trigger(idempotency_key=HASH, idempotency_key_ttl_s=0)
    forget(world.api, status=404)


def test_any_key_a_trigger_takes_can_be_forgotten(world: World) -> None:
    """With a slash, and of the greatest length, which is stored as its digest."""
    for written, sent in (("a/b c", "a%2Fb%20c"), ("k" * 2048, "k" * 2048)):
        body = {"options": {"idempotencyKey": written}}
        made = [json_of(world.api.post("/api/v1/tasks/hello/trigger", body)) for _ in range(2)]
        assert [one["isCached"] for one in made] == [False, True]
        assert forget(world.api, sent) == {"id": written}
        assert json_of(world.api.post("/api/v1/tasks/hello/trigger", body))["isCached"] is False


@pytest.mark.parametrize("body", [{}, {"taskIdentifier": ""}, {"taskIdentifier": 5}])
def test_the_task_has_to_be_named(world: World, body: dict[str, Any]) -> None:
    """400 with the field; without a credential it is 401 before that."""
    path = f"/api/v1/idempotencyKeys/{HASH}/reset"
    assert json_of(world.api.post(path, body), 400)["problems"][0]["key"] == "taskIdentifier"
    json_of(ApiClient().post(path, body), 401)


def test_any_number_of_old_keys_is_forgotten_in_pieces(world: World) -> None:
    """More than one piece of each kind; what is still in force stays."""
    world.trigger(idempotency_key="kept", request_key="kept")
    old = 2 * KEY_BATCH + 1
    for table, column, value in (
        ("runs_idempotencykey", "expires_at", SECONDS_AGO),
        ("runs_requestkey", "created_at", "now() - interval '25 hours'"),
    ):
        change(
            f"INSERT INTO {table} (environment_id, task_slug, key, run_id, {column})"
            f" SELECT %s, 'hello', g::text, 'run_x', {value} FROM generate_series(1, %s) g",
            world.environment_id,
            old,
        )
    assert (forget_old_keys(), forget_old_keys()) == (2 * old, 0)
    for table in ("runs_idempotencykey", "runs_requestkey"):
        assert rows_of(f"SELECT key FROM {table}") == [("kept",)]
    assert datetime.now(UTC) > run_of(world.trigger(idempotency_key="kept")).created_at
