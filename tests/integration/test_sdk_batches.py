"""The unmodified `@trigger.dev/sdk` triggers batches on a live stack and reads what became of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.live import LiveStack
    from tests.node_programs import NodePrograms

pytestmark = pytest.mark.node


def test_a_batch_becomes_runs_in_its_order(live_stack: LiveStack, node: NodePrograms) -> None:
    """The runs end, and the SDK reads payloads, errors of single items, and results."""
    found = node.play(
        live_stack, "sdk", "batches", task="hello-world", other="nobody", count=5, region="mars"
    )
    handle, read, mixed = found["handle"], found["read"], found["mixed"]
    assert (handle["runCount"], handle["batchId"]) == (5, read["id"])
    assert (read["status"], len(read["runs"])) == ("COMPLETED", 5)
    payloads = [live_stack.run(run_id)["payload"]["n"] for run_id in read["runs"]]
    assert payloads == list(range(5))
    assert {live_stack.run(run_id)["batchId"] for run_id in read["runs"]} == {read["id"]}
    assert [result["ok"] for result in found["results"]["items"]] == [True] * 5
    assert (mixed["status"], len(mixed["runs"])) == ("PARTIAL_FAILED", 2)
    assert [error["index"] for error in mixed["processing"]["errors"]] == [2]
    delayed, parked = (live_stack.run(run_id) for run_id in mixed["runs"])
    assert (delayed["status"], delayed["tags"]) == ("DELAYED", ["a"])
    assert (parked["status"], parked["payload"]) == ("PENDING_VERSION", "text")


def test_a_key_makes_one_batch(live_stack: LiveStack, node: NodePrograms) -> None:
    """The second call sends nothing: the batch has all its items."""
    key = live_stack.new_tenant()["prod"]
    found = node.play(live_stack, "sdk", "batchKeys", key=key, task="t", idempotency="twice")
    first, second = found["first"], found["second"]
    assert first["batchId"] == second["batchId"]
    assert (first["requests"], second["requests"]) == (2, 1)
    assert (found["read"]["idempotencyKey"], len(found["read"]["runs"])) == ("twice", 2)


def test_a_stream_of_items_is_taken_as_it_comes(live_stack: LiveStack, node: NodePrograms) -> None:
    """An iterable without a known end, sent in chunks."""
    key = live_stack.new_tenant()["prod"]
    read = node.play(live_stack, "sdk", "batchStream", key=key, task="t", count=20)["read"]
    assert (read["runCount"], len(set(read["runs"]))) == (20, 20)


def test_failures_are_those_the_sdk_names(live_stack: LiveStack, node: NodePrograms) -> None:
    """A wrong item is refused at once; an unknown batch is not found."""
    found = node.play(live_stack, "sdk", "batchErrors", task="t", unknown="batch_nothing")
    assert "machine" in found["bad"]["message"]
    assert found["bad"]["requests"] == 2
    assert (found["unknown"]["class"], found["unknown"]["status"]) == ("NotFoundError", 404)


def test_an_upload_over_plain_http(live_stack: LiveStack) -> None:
    """Chunked or with a length; bodies that are too large are refused in the one form."""
    import httpx

    bearer = {"authorization": f"Bearer {live_stack.new_tenant()['prod']}"}
    with httpx.Client(base_url=live_stack.url, headers=bearer, timeout=30) as client:
        for is_chunked in (True, False):
            made = client.post("/api/v3/batches", json={"runCount": 3}).json()
            lines = [_line(index) for index in range(3)]
            body: Any = iter(lines) if is_chunked else b"".join(lines)
            path = f"/api/v3/batches/{made['id']}/items"
            kind = {"content-type": "application/x-ndjson"}
            answer = client.post(path, content=body, headers=kind)
            assert (answer.status_code, answer.json()["itemsAccepted"]) == (200, 3), answer.text
            broken = iter([_line(0), b"garbage\n", *(b" " * 60_000 for _ in range(20))])
            other = client.post("/api/v3/batches", json={"runCount": 3}).json()
            path = f"/api/v3/batches/{other['id']}/items"
            answer = client.post(path, content=broken, headers=kind)
            assert (answer.status_code, "line 2" in answer.text) == (400, True), answer.text
        large = {"runCount": 1, "taskIdentifiers": ["x" * 100] * 2000}
        answer = client.post("/api/v3/batches", json=large)
        assert (answer.status_code, set(answer.json())) == (413, {"error"})


def _line(index: int) -> bytes:
    return json.dumps({"index": index, "task": "t", "payload": {"n": index}}).encode() + b"\n"
