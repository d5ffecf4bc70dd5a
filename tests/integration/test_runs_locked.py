"""Runs locked to a version: what that version has to have, and what it costs to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deployments.version_info import find_version, get_version
from tests.api_client import json_of
from tests.deploying import Author, metadata
from tests.deploying import task as described
from tests.factories import make_tenant
from tests.running import World, make_version, make_world, run_of, task

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

TRIGGER = "/api/v1/tasks/hello/trigger"


@pytest.fixture
def world(db: None) -> World:
    """Give a world whose only version arrives in the test."""
    return make_world(deployed=False)


def trigger(world: World, version: str, queue: str | None) -> Any:
    """Trigger a run locked to a version, over HTTP."""
    named = {} if queue is None else {"queue": {"name": queue}}
    return world.api.post(TRIGGER, {"options": {"lockToVersion": version, **named}})


def deploy(world: World, client: Client) -> str:
    """Deploy a version with two tasks and two declared queues, and give its number."""
    described_queues = [{"name": "declared"}, {"name": "e-mail queue!", "concurrencyLimit": 2}]
    tasks = (described("hello"), described("other", queue={"name": "mail"}))
    author = Author(client, world.tenant.keys["prod"])
    return str(author.deploy(metadata(*tasks, queues=described_queues))["version"])


@pytest.mark.parametrize(
    "queue", [None, "task/hello", "mail", "declared", "e-mailqueue", "e-mail queue!"]
)
def test_any_queue_of_the_version_may_be_named(
    world: World, client: Client, queue: str | None
) -> None:
    """A task's, another task's and one declared beside them; its name is cut as at a deploy."""
    version = deploy(world, client)
    run_id = json_of(trigger(world, version, queue))["id"]
    expected = (queue or "task/hello").replace(" ", "").replace("!", "")
    assert (run_of(run_id).queue_name, run_of(run_id).version) == (expected, version)


def test_a_queue_of_another_version_is_refused(world: World, client: Client) -> None:
    """That the environment has it does not help: 422 names version and queue; nothing is made."""
    old = deploy(world, client)
    make_version(world.tenant, task("hello", queue_name="new"))
    for queue in ("new", "task/other", "nowhere"):
        error = json_of(trigger(world, old, queue), 422)["error"]
        assert error == f'lockToVersion: {old} has no queue "{queue}"'
    assert json_of(world.api.get("/api/v1/runs"))["data"] == []


def test_without_a_lock_any_queue_may_be_named(world: World, client: Client) -> None:
    """A run that takes whatever is current then may wait in a queue nobody declared."""
    deploy(world, client)
    answer = world.api.post(TRIGGER, {"options": {"queue": {"name": "nowhere"}}})
    assert run_of(json_of(answer)["id"]).queue_name == "nowhere"


@pytest.mark.django_db(transaction=True)
def test_a_warm_locked_trigger_asks_nothing(client: Client, redis_url: str) -> None:
    """The version is known from memory; only the statement itself goes to the database."""
    world = make_world(deployed=False)
    version = deploy(world, client)
    json_of(trigger(world, version, "mail"))
    with CaptureQueriesContext(connection) as captured:
        json_of(trigger(world, version, "mail"))
        json_of(trigger(world, version, "nowhere"), 422)
    assert captured.captured_queries == []  # nothing went through Django's own cursors


def test_a_version_that_just_arrived_is_known(world: World) -> None:
    """That it was not there a moment ago is not remembered."""
    number = make_version(world.tenant, task("hello"))
    following = f"{number.partition('.')[0]}.2"
    json_of(trigger(world, following, None), 422)
    assert make_version(world.tenant, task("hello")) == following
    json_of(trigger(world, following, None))


def test_a_version_that_is_being_deployed_gets_its_image(client: Client) -> None:
    """What is remembered of it is what is final."""
    tenant = make_tenant()
    author = Author(client, tenant.keys["prod"])
    begun = author.start()
    assert author.register(begun["id"]).status_code == 200
    early = find_version(tenant.environments["prod"].id, begun["version"])
    assert early is not None
    assert (early.image, get_version(early.worker_id).image) == (None, None)
    digest = f"sha256:{'a' * 64}"
    assert author.finalize(begun["id"], imageDigest=digest).status_code == 200
    late = find_version(tenant.environments["prod"].id, begun["version"])
    assert late is not None
    assert str(late.image).endswith(digest)
    assert get_version(early.worker_id) == late
