"""The API that runners call: what is handed on, with what, and what comes back."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest

from tests.fakes.supervisor_fixtures import (
    idle_supervisor,
    shared_dir,
    start_supervisor,
    uid_base,
)
from tests.fakes.supervisor_process import TOKEN_SECRET, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform, FakeRun

    Start = Callable[..., SupervisorProcess]

__all__ = ["idle_supervisor", "shared_dir", "start_supervisor", "uid_base"]

PREFIX = "/api/v1/workload-actions"
NUMBERS = itertools.count(1)  # a supervisor remembers whose a run is
CLAIMS = {
    "ver": 1,
    "deployment": "deployment_d",
    "deployment_version": "20260102.1",
    "environment_id": "env_e",
    "environment_type": "PRODUCTION",
    "org_id": "org_o",
    "project_id": "proj_p",
    "iss": "https://id.trigger.dev",
    "aud": "https://api.trigger.dev",
    "exp": int(datetime(2032, 1, 1, tzinfo=UTC).timestamp()),
}


def token(secret: str = TOKEN_SECRET, **changes: Any) -> str:
    """Give a deployment token, signed by another implementation than ours."""
    return jwt.encode({**CLAIMS, **changes}, secret)


@pytest.fixture
def platform(idle_supervisor: SupervisorProcess) -> FakePlatform:
    """Give the platform of this file's supervisors, as if nobody had asked it yet."""
    idle_supervisor.platform.forget()
    return idle_supervisor.platform


@pytest.fixture
def api(idle_supervisor: SupervisorProcess) -> Generator[httpx.Client, None, None]:
    """Give a client of a supervisor that leases nothing; each test asks about a run of its own."""
    with httpx.Client(base_url=f"http://127.0.0.1:{idle_supervisor.port}", timeout=30) as client:
        yield client


def leased(platform: FakePlatform, group: str = "group-b") -> FakeRun:
    """Give a run that some earlier supervisor leased."""
    run = platform.add_run(f"leased-{next(NUMBERS)}", group=group)
    run.move("PENDING_EXECUTING")
    return run


def path_of(run: FakeRun, suffix: str) -> str:
    """Give a route of the run's latest snapshot."""
    return f"{PREFIX}/runs/{run.id}/snapshots/{run.snapshot}/{suffix}"


def test_health(api: httpx.Client) -> None:
    """The workload API says that it is there."""
    answer = api.get("/health")
    assert (answer.status_code, answer.text) == (200, "OK\n")


def test_unknown_run_finds_its_group(api: httpx.Client, platform: FakePlatform) -> None:
    """A run leased before a restart is tried with each group and then stays with the right one."""
    run = leased(platform)
    headers = {"x-trigger-workload-runner-id": "runner-x", "x-trigger-request-idempotency-key": "k"}
    answer = api.post(path_of(run, "attempts/start"), json={}, headers=headers)
    assert answer.status_code == 200
    assert api.post(path_of(run, "heartbeat"), json={}).status_code == 200
    asked = platform.calls_of("start")
    assert len(asked) == 2
    assert len(platform.calls_of("beat")) == 1
    assert asked[1][0]["x-trigger-request-idempotency-key"] == "k"
    assert asked[1][0]["x-trigger-worker-runner-id"] == "runner-x"
    assert asked[1][0]["x-trigger-worker-instance-name"] == "test-supervisor"


def test_conflict_stays_a_conflict(api: httpx.Client, platform: FakePlatform) -> None:
    """A stale start is answered 409 and not worth a retry, after one try only."""
    run = leased(platform, "group-a")
    stale = path_of(run, "attempts/start").replace(run.snapshot, "snapshot_old")
    answer = api.post(stale, json={})
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert len(platform.calls_of("start")) == 1


def test_platform_error_is_repeated_then_passed_on(
    api: httpx.Client, platform: FakePlatform
) -> None:
    """A 5xx is tried once more here; a second one is handed to the runner as it is."""
    run = leased(platform, "group-a")
    for _ in range(2):
        platform.arm("beat", "refuse", status=502)
    assert api.post(path_of(run, "heartbeat"), json={}).status_code == 502
    assert len(platform.calls_of("beat")) == 2


def test_silent_platform_is_unavailable(api: httpx.Client, platform: FakePlatform) -> None:
    """When no answer comes at all the runner is told 503 and may repeat."""
    run = leased(platform, "group-a")
    for _ in range(2):
        platform.arm("beat", "lose")
    answer = api.post(path_of(run, "heartbeat"), json={})
    assert answer.status_code == 503
    assert answer.json() == {"error": "the platform cannot be reached"}


def test_snapshots_and_logs_are_handed_on(api: httpx.Client, platform: FakePlatform) -> None:
    """A runner sees newer snapshots, and its log lines reach the platform."""
    run = leased(platform)
    first = run.snapshots[0]
    since = api.get(f"{PREFIX}/runs/{run.id}/snapshots/since/{first}")
    assert [item["snapshot"]["friendlyId"] for item in since.json()["snapshots"]] == [run.snapshot]
    lines = {"attempt": 1, "lines": [{"seq": 0, "at": 1.0, "stream": "stdout", "text": "hello"}]}
    assert api.post(f"{PREFIX}/runs/{run.id}/logs", json=lines).status_code == 200
    assert run.logs == [lines]


def test_answered_here(api: httpx.Client, platform: FakePlatform) -> None:
    """Debug logs are swallowed, suspends refused, wrong methods and routes named as such."""
    run = leased(platform)
    assert api.post(f"{PREFIX}/runs/{run.id}/logs/debug", json={}).status_code == 204
    assert api.get(path_of(run, "suspend")).json() == {"ok": False, "error": "Invalid headers"}
    names = ("runner-id", "deployment-version", "project-ref")
    headers = {f"x-trigger-workload-{name}": "x" for name in names}
    refused = api.get(path_of(run, "suspend"), headers=headers)
    assert refused.status_code == 400
    assert refused.json() == {"ok": False, "error": "Checkpoints disabled"}
    assert api.get(path_of(run, "attempts/start")).status_code == 405
    assert api.get("/api/v1/nothing").status_code == 404


@pytest.mark.parametrize("run_id", ["..", "run_%2e%2e", "run_x%2Fy", "a%3Fb", "x" * 200])
def test_only_ids_reach_the_platform(
    api: httpx.Client, platform: FakePlatform, run_id: str
) -> None:
    """What could change the path of the platform's route is refused here."""
    answer = api.post(f"{PREFIX}/runs/{run_id}/snapshots/s/heartbeat", json={})
    assert answer.status_code in {400, 404, 405}
    assert platform.calls_of("beat") == []
    assert platform.calls_of("unknown") == []


def test_oversize_body_is_refused(api: httpx.Client, platform: FakePlatform) -> None:
    """A body beyond the limit is answered 413 and never held whole."""
    run = leased(platform)
    answer = api.post(path_of(run, "attempts/complete"), content=b"x" * (16 * 1024**2 + 1))
    assert answer.status_code == 413
    assert platform.calls_of("complete") == []


@pytest.mark.parametrize(
    ("shown", "status", "environment"),
    [
        (token(), 200, "env_e"),
        (token("another secret than the supervisor's own"), 401, None),
        (token(exp=1), 401, None),
        (token(environment_id=7), 401, None),
        (token(ver=2), 401, None),
        ("deployment_d", 200, None),
        ("", 200, None),
    ],
)
def test_token_of_another_origin(
    api: httpx.Client, platform: FakePlatform, shown: str, status: int, environment: str | None
) -> None:
    """A bad token is refused; a good one scopes the call to its environment; none at all passes."""
    run = leased(platform, "group-a")
    headers = {"x-trigger-workload-deployment-id": shown} if shown else {}
    answer = api.post(path_of(run, "attempts/start"), json={}, headers=headers)
    assert answer.status_code == status
    seen = [h.get("x-trigger-worker-environment-id") for h, _ in platform.calls_of("start")]
    assert seen == ([environment] if status == 200 else [])


def test_own_workload_must_show_its_token(platform: FakePlatform, start_supervisor: Start) -> None:
    """Nobody without the token this supervisor handed out may speak for the run it started."""
    supervisor = start_supervisor("import time; time.sleep(60)")
    run = platform.add_run("guarded")
    eventually(lambda: run.status == "EXECUTING", what=supervisor.log_text)
    url = f"http://127.0.0.1:{supervisor.port}{path_of(run, 'attempts/complete')}"
    body = {"completion": {"ok": True, "id": run.id}}
    assert httpx.post(url, json=body).status_code == 401
    bare = {"x-trigger-workload-deployment-id": "deployment_d"}
    assert httpx.post(url, json=body, headers=bare).status_code == 401
    good = {"x-trigger-workload-deployment-id": token()}
    assert httpx.post(url, json=body, headers=good).status_code == 200


def test_metrics_are_served(start_supervisor: Start, platform: FakePlatform) -> None:
    """What happened is counted and shown on a port of its own."""
    supervisor = start_supervisor(METRICS_ENABLED="true", METRICS_PORT="0")
    run = platform.add_run("counted")
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)
    port = supervisor.events("supervisor.started")[0]["metrics_port"]
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert 'workload_create_duration_seconds_count{outcome="ok"} 1.0' in page
    assert 'supervisor_relayed_calls_total{call="start",status="200"} 1.0' in page
