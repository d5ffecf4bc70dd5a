"""The supervisor client of `@trigger.dev/core` works against the worker API of a live stack."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.live import LiveStack
    from tests.node_programs import NodePrograms

pytestmark = pytest.mark.node

TASKS = """
from crossfade import Retry, task

@task(id="served", retry=Retry(max_attempts=5), queue="served-queue", max_duration=120)
def served(payload):
    return payload
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A region that no supervisor of the stack serves, and a tenant whose runs go there."""

    stack: LiveStack
    region: str
    token: str
    key: str
    version: str

    def trigger(self, payload: object = None, **options: object) -> str:
        """Trigger a run that only a holder of the token can lease."""
        return self.stack.trigger("served", payload, key=self.key, region=self.region, **options)

    def play(self, node: NodePrograms, scenario: str, **given: Any) -> Any:
        """Play a scenario as a supervisor of the region."""
        held = {"token": self.token, "secret": self.stack.managed_secret, **given}
        return node.play(self.stack, "worker_group", scenario, key=self.key, **held)


def make_group(stack: LiveStack) -> tuple[str, str]:
    """Make a worker group that nobody serves; give its region and its token."""
    region = f"node-{secrets.token_hex(4)}"
    body = {"name": region, "workloadType": "CONTAINER", "region": region}
    made = stack.ask("POST", "/admin/api/v1/workers", body, key=stack.admin_token, status=201)
    return region, made["token"]["plaintext"]


@pytest.fixture(scope="module")
def served(live_session: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Give a tenant with one task deployed and a region of its own."""
    region, token = make_group(live_session)
    key = live_session.new_tenant()["prod"]
    folder = tmp_path_factory.mktemp("served")
    (folder / "tasks.py").write_text(TASKS)
    deployed = json.loads(live_session.crossfade("deploy", str(folder), key=key).stdout)
    return Served(live_session, region, token, key, deployed["version"])


def test_supervisor_is_greeted_and_seen(
    live_stack: LiveStack, node: NodePrograms, served: Served
) -> None:
    """A supervisor connects, beats, finds no work, and makes its group live."""
    found = served.play(node, "greet")
    assert found["connected"]["data"] == {
        "ok": True,
        "workerGroup": {"type": "MANAGED", "name": served.region},
    }
    assert found["heartbeat"] == {"success": True, "data": {"ok": True}}
    assert found["nothing"] == {"success": True, "data": []}
    groups = live_stack.ask("GET", "/admin/api/v1/workers", key=live_stack.admin_token)["data"]
    assert [group["live"] for group in groups if group["name"] == served.region] == [True]


def test_run_is_leased_started_and_completed(
    live_stack: LiveStack, node: NodePrograms, served: Served
) -> None:
    """Every answer on the way of a run fits the client's schema and carries what was triggered."""
    metadata = {"kept": None}
    run_id = served.trigger({"n": 1}, tags=["x"], machine="micro", metadata=metadata)
    found = served.play(node, "succeed")
    message, execution = found["message"], found["started"]["data"]["execution"]
    assert (message["run"]["friendlyId"], message["run"]["attemptNumber"]) == (run_id, 1)
    assert message["run"]["machine"]["name"] == execution["machine"]["name"] == "micro"
    assert message["backgroundWorker"]["version"] == execution["run"]["version"] == served.version
    assert message["snapshot"]["executionStatus"] == "PENDING_EXECUTING"
    assert (execution["attempt"]["number"], execution["task"]["id"]) == (1, "served")
    assert json.loads(execution["run"]["payload"]) == {"n": 1}
    assert (execution["run"]["tags"], execution["run"]["metadata"]) == (["x"], metadata)
    assert (execution["queue"]["name"], execution["run"]["region"]) == (
        "served-queue",
        served.region,
    )
    assert found["started"]["data"]["envVars"]["TRIGGER_RUN_ID"] == run_id
    assert found["heartbeat"] == {"success": True, "data": {"ok": True}}
    assert found["latest"]["data"]["execution"]["snapshot"]["executionStatus"] == "EXECUTING"
    since = [one["snapshot"]["executionStatus"] for one in found["since"]["data"]["snapshots"]]
    assert since == ["EXECUTING"]
    assert found["completed"]["data"]["result"]["attemptStatus"] == "RUN_FINISHED"
    assert found["final"]["data"]["execution"]["run"]["status"] == "COMPLETED_SUCCESSFULLY"
    run = live_stack.run(run_id, key=served.key)
    assert (run["status"], run["output"], run["durationMs"]) == ("COMPLETED", {"done": True}, 12)


def test_failed_attempt_is_retried_in_place(
    live_stack: LiveStack, node: NodePrograms, served: Served
) -> None:
    """A short retry goes to the runner that failed; a failure without one ends the run."""
    run_id = served.trigger(None)
    found = served.play(node, "fail")
    assert found["first"]["data"]["result"]["attemptStatus"] == "RETRY_IMMEDIATELY"
    assert found["again"]["data"]["execution"]["attempt"]["number"] == 2
    assert found["last"]["data"]["result"]["attemptStatus"] == "RUN_FINISHED"
    run = live_stack.run(run_id, key=served.key)
    assert (run["status"], run["attemptCount"]) == ("FAILED", 2)
    assert run["error"] == {"name": "TypeError", "message": "no", "stackTrace": "at x"}


def test_stale_calls_are_refused_and_not_repeated(
    live_stack: LiveStack, node: NodePrograms, served: Served
) -> None:
    """A start repeated by its runner is answered alike; another runner's is refused once."""
    run_id = served.trigger(None)
    found = served.play(node, "stale")
    started, repeated = (found[name]["data"]["snapshot"] for name in ("started", "repeated"))
    assert repeated == started
    for name in ("stolen", "completedStale", "continued"):
        refused = found[name]
        assert (refused["success"], refused["statusCode"], refused["requests"]) == (False, 409, 1)
    assert found["completed"]["data"]["result"]["attemptStatus"] == "RUN_FINISHED"
    run = live_stack.run(run_id, key=served.key)
    assert (run["output"], run["attemptCount"]) == ("x", 1)


def test_cancel_is_seen_and_confirmed(
    live_stack: LiveStack, node: NodePrograms, served: Served
) -> None:
    """A runner learns of a cancel from the snapshots since its own, and confirms it."""
    served.trigger(None)
    found = served.play(node, "canceled")
    newest = found["since"]["data"]["snapshots"][-1]
    assert newest["snapshot"]["executionStatus"] == "PENDING_CANCEL"
    result = found["ended"]["data"]["result"]
    assert (result["attemptStatus"], result["run"]["status"]) == ("RUN_FINISHED", "CANCELED")
    assert live_stack.run(found["run"], key=served.key)["status"] == "CANCELED"


def test_strangers_are_refused(live_stack: LiveStack, node: NodePrograms, served: Served) -> None:
    """Unknown tokens and wrong secrets get 401, another group's run 404, each asked once."""
    run_id = served.trigger(None)
    _, other_token = make_group(live_stack)
    found = served.play(
        node, "strangers", otherToken=other_token, run=run_id, snapshot=f"snapshot_{run_id[4:]}"
    )
    statuses = {name: (one["statusCode"], one["requests"]) for name, one in found.items()}
    assert statuses == {
        "unknownToken": (401, 1),
        "wrongSecret": (401, 1),
        "anothersRun": (404, 1),
        "unknownRun": (404, 1),
    }
    live_stack.ask("POST", f"/api/v2/runs/{run_id}/cancel", key=served.key)
