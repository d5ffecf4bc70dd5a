"""What staff see of a running stack: who follows the ledger, and where the next run would go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.live import LiveStack

API = "/admin/api/v1"


def replicas(stack: LiveStack) -> dict[str, Any]:
    """Read the replicas as staff."""
    return dict(stack.ask("GET", f"{API}/replicas", key=stack.admin_token))


def test_every_process_reports_the_revision_of_a_write(live_stack: LiveStack) -> None:
    """All that decide are listed, web and worker, and soon each of them serves the last revision."""
    organization = live_stack.ask("GET", f"{API}/orgs?query=birch", key=live_stack.admin_token)
    path = f"{API}/orgs/{organization['data'][0]['id']}/feature-flags"
    written = [
        live_stack.ask("POST", path, {"hasComputeAccess": value}, key=live_stack.admin_token)
        for value in (True, None)
    ]

    def have_all_seen_it() -> bool:
        listed = replicas(live_stack)["replicas"]
        served = {one["process"]: one.get("revision", 0) for one in listed}
        return set(served) == {"web", "worker"} and (
            min(served.values()) >= written[-1]["revision"]
        )

    wait_until(have_all_seen_it, timeout_s=40, what=str(replicas(live_stack)))


def test_the_explanation_agrees_with_the_next_run(live_stack: LiveStack) -> None:
    """Queue, region, enrollment and reason, over the whole way through the real processes."""
    organization = live_stack.ask("GET", f"{API}/orgs?query=acme", key=live_stack.admin_token)
    path = f"{API}/orgs/{organization['data'][0]['id']}/migration/explain?environment=prod"
    said = live_stack.ask("GET", path, key=live_stack.admin_token)
    run_id = live_stack.trigger("hello-world", {"name": "Ada"})
    run = live_stack.ask("GET", f"{API}/runs/{run_id}", key=live_stack.admin_token)
    told = ("queue", "region", "enrollment", "why", "organization", "environment")
    assert {name: said[name] for name in told} == {name: run[name] for name in told}
    assert run["run"]["id"] == run_id
