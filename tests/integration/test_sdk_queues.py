"""The unmodified `@trigger.dev/sdk` reads and steers queues, and forgets idempotency keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.live import LiveStack
    from tests.node_programs import NodePrograms

pytestmark = pytest.mark.node

TASKS = """
from crossfade import Queue, task


@task(id="greet", queue=Queue("mail/slow", concurrency_limit=5))
def greet(payload: dict) -> dict:
    return {"hello": payload["name"]}


@task(id="own")
def own(payload: dict) -> None:
    return None
"""
SLOW = {"type": "custom", "name": "mail/slow"}
OWN = {"type": "task", "name": "own"}


@pytest.fixture(scope="module")
def key(live_session: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the key of a tenant whose version has a custom queue and a task's own."""
    made = live_session.new_tenant()["prod"]
    folder = tmp_path_factory.mktemp("queues")
    (folder / "tasks.py").write_text(TASKS)
    live_session.crossfade("deploy", str(folder), key=made)
    return made


def shape(queue: dict[str, Any]) -> tuple[Any, ...]:
    """Give what a queue says of itself."""
    return queue["type"], queue["name"], queue["concurrencyLimit"], queue["paused"]


def test_queues_are_read(live_stack: LiveStack, node: NodePrograms, key: str) -> None:
    """In pages, by id and by type and name with a slash in it."""
    found = node.play(live_stack, "queues", "read", key=key, names=[SLOW, OWN])
    slow, own = found["found"]
    assert shape(slow) == ("custom", "mail/slow", 5, False)
    assert shape(own) == ("task", "own", None, False)
    assert found["byId"] == slow
    assert found["all"] == [slow, own]
    assert (found["pages"], found["ends"]) == ([["mail/slow"], ["own"]], [False, False])
    assert (slow["version"], slow["concurrency"]["base"]) == ("V1", 5)


def test_a_paused_queue_waits(live_stack: LiveStack, node: NodePrograms, key: str) -> None:
    """Its run is queued while it is paused and completes when it goes on."""
    found = node.play(live_stack, "queues", "pauseAndResume", key=key, task="greet", queue=SLOW)
    assert (found["paused"]["paused"], found["resumed"]["paused"]) == (True, False)
    waiting = found["waiting"]
    assert (waiting["run"]["status"], waiting["queue"]["queued"]) == ("QUEUED", 1)
    assert (found["done"]["status"], found["done"]["output"]) == ("COMPLETED", {"hello": "Ada"})


def test_a_limit_is_overridden_and_reset(
    live_stack: LiveStack, node: NodePrograms, key: str
) -> None:
    """And what cannot be done is the error the SDK names, not repeated."""
    found = node.play(live_stack, "queues", "limit", key=key, queue=SLOW)
    overridden, reset = found["overridden"], found["reset"]
    assert (overridden["concurrencyLimit"], overridden["concurrency"]["override"]) == (2, 2)
    assert overridden["concurrency"]["overriddenAt"] is not None
    assert (reset["concurrencyLimit"], reset["concurrency"]["override"]) == (5, None)
    failures = {
        name: (found[name]["class"], found[name]["status"], found[name]["requests"])
        for name in ("again", "tooMuch", "unknown", "strange")
    }
    assert failures == {
        "again": ("BadRequestError", 400, 1),
        "tooMuch": ("BadRequestError", 400, 1),
        "unknown": ("NotFoundError", 404, 1),
        "strange": ("NotFoundError", 404, 1),
    }
    assert "queue-not-found" in found["unknown"]["message"]


def test_an_idempotency_key_is_forgotten(
    live_stack: LiveStack, node: NodePrograms, key: str
) -> None:
    """By its hash and by what the user typed; the next trigger makes a new run."""
    found = node.play(live_stack, "queues", "forgetKey", key=key, task="own")
    first, cached, second = found["first"], found["cached"], found["second"]
    assert (cached["id"], cached["isCached"]) == (first["id"], True)
    assert found["reset"] == found["byName"] == {"id": found["key"]}
    assert (second["id"] != first["id"], second["isCached"]) == (True, False)
    assert (found["nothing"]["class"], found["nothing"]["status"]) == ("NotFoundError", 404)
