"""The unmodified `@trigger.dev/sdk` triggers, reads and steers runs of a live stack."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.live import LiveStack
    from tests.node_programs import NodePrograms

pytestmark = pytest.mark.node

OPTIONS = {
    "queue": "slow lane",  # what is no part of a queue's name is cut out
    "concurrencyKey": "customer-1",
    "idempotencyKeyTTL": "1h",
    "delay": "1h",
    "ttl": "90m",
    "tags": ["b", "a"],
    "maxAttempts": 2,
    "metadata": {"step": 1, "nested": {"nothing": None}},
    "maxDuration": 60,
    "machine": "small-2x",
    "priority": 5,
    "region": "eu-central-1",
}
UNKNOWN_RUN = "run_0123456789abcdefghijklmno"


def claims_of(token: str) -> dict[str, Any]:
    """Read what a token claims, without looking at its signature."""
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def test_every_option_of_a_trigger_is_read_back(live_stack: LiveStack, node: NodePrograms) -> None:
    """A trigger with all options makes the run they describe, readable by its token."""
    found = node.play(live_stack, "sdk", "everyOption", task="hello-world", options=OPTIONS)
    handle, run = found["handle"], found["run"]
    assert run["id"] == handle["id"]
    assert handle["isCached"] is False
    assert claims_of(handle["publicAccessToken"])["scopes"] == [f"read:runs:{run['id']}"]
    assert (run["taskIdentifier"], run["status"]) == ("hello-world", "DELAYED")
    assert run["payload"] == {"a": 1, "at": "1970-01-01T00:00:00.000Z"}
    assert (run["tags"], run["metadata"]) == (["a", "b"], OPTIONS["metadata"])
    assert (run["idempotencyKey"], run["ttl"], run["region"]) == (
        "user-key",
        "1h30m",
        "eu-central-1",
    )
    due = datetime.fromisoformat(run["delayedUntil"])
    assert due - datetime.fromisoformat(run["createdAt"]) == pytest.approx(
        timedelta(hours=1), abs=timedelta(seconds=5)
    )


def test_payloads_are_read_back_as_they_were_sent(
    live_stack: LiveStack, node: NodePrograms
) -> None:
    """Text, numbers, null, lists and objects arrive unchanged; no payload stays none."""
    key = live_stack.new_tenant()["prod"]
    values = ["text", "", 'a "quote" and a ✓', 0, 1.5, True, None, [], {"deep": [{"a": None}]}]
    found = node.play(live_stack, "sdk", "payloads", key=key, task="t", values=values)
    assert found == {"seen": values, "none": False}


def test_poll_gives_the_completed_run(live_stack: LiveStack, node: NodePrograms) -> None:
    """`runs.poll` waits for a real run and gives its output and version."""
    run = node.play(live_stack, "sdk", "poll", task="hello-world", payload={"name": "Ada"})
    assert (run["status"], run["isSuccess"], run["attemptCount"]) == ("COMPLETED", True, 1)
    assert run["output"] == {"message": "Hello, Ada!"}
    assert run["payload"] == {"name": "Ada", "at": "1970-01-01T00:00:00.000Z"}
    assert run["region"] == "us-east-1"
    assert run["createdAt"] < run["startedAt"] < run["finishedAt"]


def test_same_idempotency_key_gives_the_same_run(live_stack: LiveStack, node: NodePrograms) -> None:
    """A second trigger with a key gives the first one's run and says so."""
    key = live_stack.new_tenant()["prod"]
    found = node.play(live_stack, "sdk", "sameKey", key=key, task="t")
    assert found["first"]["isCached"] is False
    assert found["second"]["isCached"] is True
    assert found["second"]["id"] == found["first"]["id"]
    assert found["other"]["id"] != found["first"]["id"]


@pytest.fixture(scope="module")
def many(live_session: LiveStack) -> tuple[str, list[str]]:
    """Give a key and seven waiting runs of its environment, newest first.

    The odd ones are special, and canceled.
    """
    key = live_session.new_tenant()["prod"]
    special = {"tags": ["odd", "x"], "queue": {"name": "q1"}, "test": True}
    ids = [
        live_session.trigger(f"task-{number % 2}", key=key, **(special if number % 2 else {}))
        for number in range(7)
    ]
    for canceled in ids[1::2]:
        live_session.ask("POST", f"/api/v2/runs/{canceled}/cancel", key=key)
    return key, ids[::-1]


def test_list_pages_both_ways(
    live_stack: LiveStack, node: NodePrograms, many: tuple[str, list[str]]
) -> None:
    """Pages go forward to the oldest run and back to the newest without a gap or a repeat."""
    key, ids = many
    found = node.play(live_stack, "sdk", "pages", key=key, query={"limit": 3})
    assert found["forward"] == [ids[:3], ids[3:6], ids[6:]]
    assert found["backward"] == [ids[3:6], ids[:3]]
    assert found["ends"] == [False, False]
    assert found["item"]["env"]["name"] == "prod"


def test_list_filters(
    live_stack: LiveStack, node: NodePrograms, many: tuple[str, list[str]]
) -> None:
    """Each filter of `runs.list` gives exactly the runs it describes, newest first."""
    key, ids = many
    odd, even = ids[1::2], ids[::2]
    hour_ago = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)
    table: list[tuple[dict[str, Any], list[str]]] = [
        ({"status": "CANCELED"}, odd),
        ({"status": ["PENDING_VERSION", "EXECUTING"]}, even),
        ({"taskIdentifier": "task-1"}, odd),
        ({"taskIdentifier": ["task-0", "task-7"]}, even),
        ({"tag": ["odd", "even"]}, odd),
        ({"isTest": True}, odd),
        ({"isTest": False}, even),
        ({"queue": {"type": "custom", "name": "q1"}}, odd),
        ({"queue": {"type": "task", "name": "task-0"}}, even),
        ({"period": "1h"}, ids),
        ({"from": hour_ago}, ids),
        ({"to": hour_ago}, []),
        ({"region": "us-east-1"}, ids),
        ({"region": ["eu-central-1"]}, []),
        ({"version": "20200101.1"}, []),
        ({"status": "CANCELED", "tag": "even"}, []),
    ]
    queries = [query for query, _ in table]
    found = node.play(live_stack, "sdk", "list", key=key, queries=queries)
    assert list(zip(queries, found, strict=True)) == table


def test_cancel_and_replay(live_stack: LiveStack, node: NodePrograms) -> None:
    """A waiting run is canceled at once; its replay is a new run with what it was given."""
    key = live_stack.new_tenant()["prod"]
    run_id = live_stack.trigger("t", {"n": 1}, key=key, tags=["kept"], metadata={"m": 1})
    canceled = node.play(live_stack, "sdk", "cancel", key=key, run=run_id)
    assert canceled["answer"] == {"id": run_id}
    assert (canceled["run"]["status"], canceled["run"]["isCancelled"]) == ("CANCELED", True)
    replayed = node.play(live_stack, "sdk", "replay", key=key, run=run_id)
    assert replayed["made"]["id"] != run_id
    run = replayed["run"]
    assert (run["payload"], run["tags"], run["metadata"]) == ({"n": 1}, ["kept"], {"m": 1})


def test_a_delay_is_changed(live_stack: LiveStack, node: NodePrograms) -> None:
    """By a duration and by a date; a run that is not delayed is a bad request."""
    run_id = live_stack.trigger("hello-world", delay="1h")
    queued = live_stack.trigger("hello-world", {"name": "Ada"})
    delays = ["2h", {"date": "2031-05-06T07:08:09.000Z"}]
    answer = node.play(live_stack, "sdk", "reschedule", run=run_id, delays=delays, queued=queued)
    first, second = answer["found"]
    due = datetime.fromisoformat(first["delayedUntil"])
    assert due - datetime.now(UTC) == pytest.approx(timedelta(hours=2), abs=timedelta(seconds=10))
    assert second["delayedUntil"] == "2031-05-06T07:08:09.000Z"
    refused = answer["refused"]
    assert (refused["class"], refused["status"]) == ("BadRequestError", 400)


def test_tags_are_added_up_to_ten(live_stack: LiveStack, node: NodePrograms) -> None:
    """Tags are added once each; more than ten in all are refused and none of them is added."""
    key = live_stack.new_tenant()["prod"]
    run_id = live_stack.trigger("t", key=key, tags="one")
    more = [str(number) for number in range(8)]
    found = node.play(
        live_stack, "sdk", "tag", key=key, run=run_id, tags=["one", "two", "three"], more=more
    )
    assert found["answer"]["message"] == "Successfully set 2 new tags."
    assert found["again"]["message"] == "No new tags to add"
    assert (found["refused"]["class"], found["refused"]["status"]) == (
        "UnprocessableEntityError",
        422,
    )
    assert found["run"]["tags"] == ["one", "three", "two"]


def test_deployments_are_listed(live_stack: LiveStack, node: NodePrograms) -> None:
    """The SDK reads the current deployment and the list it stands in."""
    found = node.play(live_stack, "sdk", "versions")
    current = found["current"]
    assert current["status"] == "DEPLOYED"
    assert current["version"] in {one["version"] for one in found["page"]["data"]}


def test_failures_are_the_errors_the_sdk_names(live_stack: LiveStack, node: NodePrograms) -> None:
    """Each refusal has its status, the class the SDK gives to it and a text that names the field."""
    found = node.play(live_stack, "sdk", "errors", unknownRun=UNKNOWN_RUN)
    expected = {
        "unknownRun": ("NotFoundError", 404),
        "cancelUnknown": ("NotFoundError", 404),
        "replayUnknown": ("NotFoundError", 404),
        "badMachine": ("BadRequestError", 400),
        "badRegion": ("UnprocessableEntityError", 422),
        "tooLarge": ("ApiError", 413),
        "manyTags": ("UnprocessableEntityError", 422),
        "badStatus": ("BadRequestError", 400),
        "unknownKey": ("AuthenticationError", 401),
    }
    assert {name: (one["class"], one["status"]) for name, one in found.items()} == expected
    assert all(one["requests"] == 1 for one in found.values()), "nothing of this is repeated"
    assert "machine" in found["badMachine"]["message"]
    assert "mars-1" in found["badRegion"]["message"]
