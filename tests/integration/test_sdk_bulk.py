"""The unmodified `@trigger.dev/sdk` cancels and replays many runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.live import LiveStack
    from tests.node_programs import NodePrograms

pytestmark = pytest.mark.node


def test_a_filter_is_canceled_by_the_workers(live_stack: LiveStack, node: NodePrograms) -> None:
    """`runs.bulk.cancel` and `poll` come to an end, and `runs.list` shows what was reached."""
    key = live_stack.new_tenant()["prod"]
    found = node.play(live_stack, "bulk", "cancel", key=key, task="t", count=5)
    ended = found["ended"]
    assert (ended["status"], ended["type"], ended["name"]) == ("COMPLETED", "CANCEL", "clean up")
    assert ended["counts"] == {"total": 5, "success": 5, "failure": 0}
    assert ended["createdAt"] <= ended["completedAt"]
    assert sorted(found["reached"]) == sorted([each, "CANCELED"] for each in found["ids"])


def test_named_runs_are_replayed_in_another_region(
    live_stack: LiveStack, node: NodePrograms
) -> None:
    """The new runs are where `targetRegion` says, and the list of actions is paged."""
    key = live_stack.new_tenant()["prod"]
    found = node.play(live_stack, "bulk", "replay", key=key, task="t")
    assert found["ended"]["counts"] == {"total": 2, "success": 2, "failure": 0}
    assert found["made"] == ["eu-central-1"] * 2
    assert [each["id"] for each in found["listed"]] == [found["begun"]["id"]]
    assert found["hasNext"] is False


def test_what_is_refused_says_why(live_stack: LiveStack, node: NodePrograms) -> None:
    """An unknown action, a filter that finds nothing, one that says nothing, and a late abort."""
    key = live_stack.new_tenant()["prod"]
    found = node.play(live_stack, "bulk", "refused", key=key)
    assert found["unknown"]["status"] == 404
    assert found["nothing"]["status"] == 422
    assert (found["empty"]["status"], "at least one" in found["empty"]["message"]) == (400, True)
    late = node.play(live_stack, "bulk", "abort", key=key, task="t")["late"]
    assert late["status"] == 409
