"""A bulk action goes on to its end, each run once, whoever carries it out and dies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.live import LiveStack

BULK = "/api/v1/bulk-actions"
MANY = 400  # several slices
LONG_S = 120.0


def listed(stack: LiveStack, key: str, query: str = "") -> list[str]:
    """Give the ids of all runs of a list."""
    ids: list[str] = []
    after = ""
    while True:
        page = stack.ask("GET", f"/api/v1/runs?page[size]=100{query}{after}", key=key)
        ids += [run["id"] for run in page["data"]]
        cursor = page["pagination"].get("next")
        if cursor is None:
            return ids
        after = f"&page[after]={cursor}"


@pytest.mark.parametrize("process", ["worker", "postgres"])
@pytest.mark.fault(
    kills="worker, PostgreSQL: each alone",
    step="a bulk action is under way",
    expects="it goes on where it was: each run is replayed once",
)
def test_a_bulk_replay_is_done_once(live_stack: LiveStack, process: str) -> None:
    """No run is left out, none is replayed twice, and the counts say so."""
    key = live_stack.new_tenant()["prod"]
    items = [{"task": "later", "payload": {}}] * MANY  # nothing is deployed: they wait
    live_stack.ask("POST", "/api/v2/tasks/batch", {"items": items}, key=key, status=202)
    runs = listed(live_stack, key)
    body = {"action": "replay", "runIds": runs}
    path = f"{BULK}/{live_stack.ask('POST', BULK, body, key=key)['id']}"

    def success() -> int:
        return int(live_stack.ask("GET", path, key=key)["counts"]["success"])

    wait_until(lambda: success() > 0, timeout_s=LONG_S, what="a slice is done")
    live_stack.kill(process)
    wait_until(lambda: success() == MANY, timeout_s=LONG_S, what="all runs are replayed")
    ended = live_stack.ask("GET", path, key=key)
    assert ended["counts"] == {"total": MANY, "success": MANY, "failure": 0}
    replays = listed(live_stack, key, f"&filter[bulkAction]={path.rpartition('/')[2]}")
    assert len(set(replays)) == MANY
    assert sorted(listed(live_stack, key)) == sorted([*runs, *replays])
