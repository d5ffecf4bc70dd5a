"""The compute path through every real process: placed on the MicroVM group, run by the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.calling import request
from tests.live import COMPUTE_SUPERVISOR, GATEWAY, LiveStack
from tests.servers import wait_until

if TYPE_CHECKING:
    from pathlib import Path

REGION = "us-east-1-next"
LONG_S = 90.0


@pytest.fixture
def entitled(live_stack: LiveStack) -> LiveStack:
    """Give the stack with an organization that may choose MicroVM groups."""
    live_stack.set_flag("acme", "hasComputeAccess", value=True)
    return live_stack


def instances_of(stack: LiveStack) -> dict[str, str]:
    """Give the gateway's instances: name and status."""
    headers = {"authorization": f"Bearer {stack.gateway_token}"}
    answer = request("GET", f"{stack.gateway_url}/api/instances", headers=headers)
    return {one["name"]: one["status"] for one in answer.json()["data"]}


def created_for(stack: LiveStack, run_id: str) -> list[str]:
    """Give the names of the instances the gateway has made for a run."""
    part = run_id.removeprefix("run_")
    return [e["name"] for e in stack.events(GATEWAY, "instance.created") if part in e["name"]]


def lines_of(file: Path) -> list[str]:
    """Give the lines that attempts have left so far."""
    return file.read_text().splitlines() if file.exists() else []


def appending(file: Path, *, sleep_ms: int) -> dict[str, object]:
    """Give the payload of a run that leaves a line per attempt and then sleeps."""
    return {"file": str(file), "token": "t", "sleepMs": sleep_ms}


def test_run_is_executed_by_the_gateway(entitled: LiveStack) -> None:
    """A run that names the MicroVM group runs in an instance, and the customer sees the region."""
    run_id = entitled.trigger("hello-world", {"name": "Ada"}, region=REGION)
    run = entitled.wait_run(run_id)
    assert (run["status"], run["output"]) == ("COMPLETED", {"message": "Hello, Ada!"})
    assert run["region"] == "us-east-1"
    assert created_for(entitled, run_id) == [f"runner-{run_id.removeprefix('run_')}-1"]
    wait_until(lambda: not instances_of(entitled), timeout_s=30, what="the instance is deleted")


def test_enrolled_organization_moves_and_comes_back(live_stack: LiveStack) -> None:
    """With the override on the next run is executed by the gateway, with it off by containers."""
    seen = []
    for value in (True, False):
        live_stack.set_flag("acme", "computeMigrationEnabled", value=value)
        run_id = live_stack.trigger("hello-world", {"name": "Ada"})
        run = live_stack.wait_run(run_id)
        assert (run["status"], run["region"]) == ("COMPLETED", "us-east-1")
        staff = live_stack.ask("GET", f"/admin/api/v1/runs/{run_id}", key=live_stack.admin_token)
        seen.append((staff["queue"], staff["why"], len(created_for(live_stack, run_id))))
    live_stack.set_flag("acme", "computeMigrationEnabled", value=None)
    assert seen == [(REGION, "migrated", 1), ("us-east-1", "not_enrolled", 0)]


def test_others_may_not_choose_it(live_stack: LiveStack) -> None:
    """Without the entitlement the group is no region at all."""
    key = live_stack.new_tenant()["prod"]
    body = {"payload": {}, "options": {"region": REGION}}
    path = "/api/v1/tasks/hello-world/trigger"
    assert live_stack.call("POST", path, body, key=key).status_code == 422


@pytest.mark.parametrize("process", [GATEWAY, COMPUTE_SUPERVISOR])
@pytest.mark.fault(
    kills="gateway, compute supervisor: each alone",
    step="executing",
    expects="tried again, no attempt begins twice, no instance is left over",
)
def test_run_survives(entitled: LiveStack, shared_file: Path, process: str) -> None:
    """A run whose gateway or supervisor is killed is tried again, and no attempt begins twice."""
    payload = appending(shared_file, sleep_ms=2000)
    run_id = entitled.trigger("chaos-append", payload, region=REGION)
    wait_until(lambda: len(lines_of(shared_file)) == 1, timeout_s=90, what="an attempt began")
    entitled.kill(process)
    run = entitled.wait_run(run_id, timeout_s=LONG_S)
    assert run["status"] == "COMPLETED"
    attempts = range(1, run["attemptCount"] + 1)
    assert lines_of(shared_file) == [f"{run_id} {number} t" for number in attempts]
    wait_until(lambda: not instances_of(entitled), timeout_s=60, what="nothing is left over")


def test_who_is_enrolled_gets_a_template_and_goes_over_when_it_is_ready(
    live_stack: LiveStack,
) -> None:
    """Nobody deploys: the reconciler, a job, the gateway and its callback make the version ready."""
    flags, ready = "/admin/api/v1/feature-flags", "computeMigrationRequireReady"
    found = live_stack.ask("GET", "/admin/api/v1/orgs?query=birch", key=live_stack.admin_token)
    explain = f"/admin/api/v1/orgs/{found['data'][0]['id']}/migration/explain?environment=prod"

    def why() -> str:
        return str(live_stack.ask("GET", explain, key=live_stack.admin_token)["why"])

    live_stack.ask("POST", flags, {ready: True}, key=live_stack.admin_token)
    live_stack.set_flag("birch", "computeMigrationEnabled", value=True)
    wait_until(lambda: why() == "migrated", timeout_s=60, what="the template")
    live_stack.set_flag("birch", "computeMigrationEnabled", value=None)
    live_stack.ask("POST", flags, {ready: None}, key=live_stack.admin_token)
    assert live_stack.events(GATEWAY, "template.built")


TASK = "from crossfade import task\n\n@task\ndef noop(payload):\n    return 1\n"
BROKEN = "no-such-package-anywhere @ https://user:hunter2@127.0.0.1:1/none-1.0-py3-none-any.whl\n"


def test_a_deploy_that_requires_its_template_waits_for_the_gateway(
    live_stack: LiveStack, requiring: dict[str, str], tmp_path: Path
) -> None:
    """The command line says what it waits for; what cannot be prepared ends it with its reason.

    The version before stays current, and what an address in the requirements holds is not shown.
    """

    def deploy(status: int) -> list[str]:
        said = live_stack.crossfade("deploy", str(tmp_path), key=requiring["prod"], status=status)
        assert "hunter2" not in said.stderr
        return said.stderr.splitlines()

    (tmp_path / "tasks.py").write_text(TASK)
    prepared = deploy(0)
    (tmp_path / "requirements.txt").write_text(BROKEN)
    failed = deploy(1)
    version = prepared[-1].removeprefix("deploy  version ").removesuffix(" is deployed")
    assert prepared[-4:-1] == [
        f"deploy  Finalizing version {version}",
        "deploy  Preparing the code for small-1x",
        "deploy  The code is prepared",
    ]
    (reason,) = [line for line in failed if "could not be prepared" in line]
    assert reason.startswith("error   ")
    assert "small-1x: the requirements could not be installed" in reason
    current = live_stack.ask("GET", "/api/v1/deployments/current", key=requiring["prod"])
    assert current["version"] == version
