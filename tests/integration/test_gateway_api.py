"""The reference gateway over HTTP: a real process, sensible callers and the other ones."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from tests.fakes.gateway_fixtures import scripted, standing_gateway, start_gateway
from tests.fakes.gateway_process import AUTHORIZED, GatewayProcess, wanted
from tests.fakes.scripted_gateway import TOKEN
from tests.fakes.supervisor_fixtures import IMAGE, shared_dir, uid_base
from tests.fakes.supervisor_process import eventually, make_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.fakes.scripted_gateway import ScriptedGateway
    from tests.fakes.worker_platform import FakePlatform

__all__ = ["scripted", "shared_dir", "standing_gateway", "start_gateway", "uid_base"]


@pytest.fixture
def platform(standing_gateway: GatewayProcess) -> FakePlatform:
    """Give the platform of this file's gateways, as if nobody had asked it yet."""
    standing_gateway.platform.forget()
    return standing_gateway.platform


@pytest.fixture
def gateway(standing_gateway: GatewayProcess) -> Generator[GatewayProcess, None, None]:
    """Give the gateway of this file; no instance outlives its test."""
    yield standing_gateway
    for name in standing_gateway.listed():
        standing_gateway.call("DELETE", f"/api/instances/{name}")


def pids_of(name: str) -> list[int]:
    """Give the processes of an instance."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TRIGGER_RUNNER_ID") == name:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture(params=["real", "scripted"])
def either(request: pytest.FixtureRequest, scripted: ScriptedGateway) -> str:
    """Give the address of the real gateway, and of the one that stands for it."""
    if request.param == "scripted":
        return scripted.url
    real: GatewayProcess = request.getfixturevalue("gateway")
    return real.url


def test_contract(either: str) -> None:
    """Create, repeat, clash, get, list, delete: what every gateway answers, also the fake one."""
    with httpx.Client(base_url=either, headers=AUTHORIZED) as client:

        def create(request_id: str) -> httpx.Response:
            body = wanted("contract", metadata={"runId": "r"}, labels={"org": "o"})
            return client.post("/api/instances", json=body, headers={"x-request-id": request_id})

        assert (create("one").status_code, create("one").status_code) == (201, 200)
        assert create("one").json()["id"] == "contract"
        clash = create("two")
        assert clash.status_code == 409
        assert set(clash.json()) == {"error"}
        one = client.get("/api/instances/contract").json()
        assert client.get("/api/instances").json() == {"data": [one]}
        assert set(one) == {"id", "name", "image", "status", "createdAt", "labels", "metadata"}
        assert (one["id"], one["status"], one["image"]) == ("contract", "running", "builtin/idle")
        assert (one["metadata"], one["labels"]) == ({"runId": "r"}, {"org": "o"})
        assert client.delete("/api/instances/contract").is_success
        assert client.delete("/api/instances/contract").status_code == 404
        assert client.get("/api/instances/contract").status_code == 404
        assert client.get("/api/instances").json() == {"data": []}


WRONG_TOKENS = (None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN)


def test_token_is_needed_everywhere(gateway: GatewayProcess) -> None:
    """Without the token nothing is said and nothing is done; health and metrics are open."""
    for value in WRONG_TOKENS:
        headers = {} if value is None else {"authorization": value}
        with httpx.Client(base_url=gateway.url, headers=headers) as client:
            answers = [
                client.get("/api/instances"),
                client.post("/api/instances", json=wanted("a")),
                client.get("/api/instances/a"),
                client.delete("/api/instances/a"),
            ]
        assert {answer.status_code for answer in answers} == {401}, value
        assert {answer.text for answer in answers} == {
            '{"error":"Invalid or missing gateway token"}'
        }
    assert httpx.get(f"{gateway.url}/health").text == "OK\n"
    assert "gateway_instances 0.0" in httpx.get(f"{gateway.url}/metrics").text
    assert gateway.listed() == {}


GARBAGE: list[bytes] = [
    b"", b"{", b"[]", b"null", b"1", b'"a"', b"\xff\xfe", b"{}", b"[" * 5000, b'{"a":' * 5000,
    b'{"name": "a", "image": "builtin/idle", "cpu": 1e999, "memory_gb": 1}',
    b'{"name": "a", "image": "builtin/idle", "cpu": NaN, "memory_gb": 1}',
    b'{"name": "a", "image": "builtin/idle", "cpu": 1, "memory_gb": 1, "metadata": {"x": NaN}}',
    b'{"name": "a", "image": "\\ud800", "cpu": 1, "memory_gb": 1}',
    b'{"name": "../../x", "image": "builtin/idle", "cpu": 1, "memory_gb": 1}',
    b'{"name": "a", "image": "builtin/idle", "cpu": 1, "memory_gb": 1, "env": {"LD_PRELOAD": "x"}}',
]  # fmt: skip


def test_garbage_is_refused_by_name_and_makes_nothing(gateway: GatewayProcess) -> None:
    """Whatever cannot be meant is 400 in the one form of errors, and the gateway goes on."""
    for raw in GARBAGE:
        answer = gateway.call("POST", "/api/instances", content=raw)
        assert answer.status_code == 400, raw
        body = answer.json()
        assert set(body) == {"error", "problems"}
        assert all(set(problem) == {"key", "message"} for problem in body["problems"])
    wrong = gateway.create("a", cpu="1").json()
    assert wrong["problems"][0]["key"] == "cpu"
    assert wrong["error"].startswith("cpu: ")
    assert gateway.listed() == {}
    assert gateway.create("a").status_code == 201


WRONG_ADDRESSES = (
    ("GET", "/", 404),
    ("GET", "/api/nothing", 404),
    ("GET", "/api/instances/a/b", 404),
    ("GET", "/api/instances/a%2Fb", 404),
    ("GET", "/api/instances/unknown", 404),
    ("DELETE", "/api/instances/unknown", 404),
    ("PUT", "/api/instances", 405),
    ("DELETE", "/api/instances", 405),
    ("POST", "/api/instances/a", 405),
    ("POST", "/health", 405),
)


def test_wrong_address_is_answered_in_json(gateway: GatewayProcess) -> None:
    """Unknown paths and names are 404, wrong methods 405, all in the one form of errors."""
    for method, path, status in WRONG_ADDRESSES:
        answer = gateway.call(method, path)
        assert answer.status_code == status, path
        assert set(answer.json()) == {"error"}, path


def test_body_is_bounded(gateway: GatewayProcess) -> None:
    """A body beyond a mebibyte is 413, announced or not, and is not read to its end."""
    large = wanted("large", metadata={"x": "y" * 1024**2})
    assert gateway.call("POST", "/api/instances", json=large).status_code == 413
    chunks = iter([b"{" + b" " * 600_000, b" " * 600_000])
    assert gateway.call("POST", "/api/instances", content=chunks).status_code == 413
    assert gateway.create("small").status_code == 201


def test_broken_requests_do_no_harm(gateway: GatewayProcess) -> None:
    """No HTTP at all, a body that breaks off, callers that hang up: the next one is served."""
    head = f"POST /api/instances HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {TOKEN}\r\n"
    for sent in ("\x00\x01\x02\r\n\r\n", head, f"{head}content-length: 50\r\n\r\n{{", "GET"):
        with socket.create_connection(("127.0.0.1", gateway.port)) as line:
            line.sendall(sent.encode())
    assert gateway.listed() == {}
    assert "Traceback" not in gateway.log_text


def test_race_for_one_name_has_one_winner(gateway: GatewayProcess) -> None:
    """Many creates of one name at once: one instance, and everybody else is told."""
    with ThreadPoolExecutor(12) as pool:
        strangers = list(pool.map(lambda n: gateway.create("race", request_id=f"r{n}"), range(12)))
        repeats = list(pool.map(lambda _: gateway.create("again", request_id="one"), range(12)))
    assert sorted(answer.status_code for answer in strangers) == [201] + [409] * 11
    assert sorted(answer.status_code for answer in repeats) == [200] * 11 + [201]
    assert len(pids_of("race")) == len(pids_of("again")) == 1
    assert {a.headers.get("x-should-retry") for a in strangers if a.status_code == 409} == {"false"}


def test_gateway_is_full_at_its_cap(start_gateway: Callable[..., GatewayProcess]) -> None:
    """Running instances are capped; a delete makes room."""
    gateway = start_gateway(GATEWAY_MAX_INSTANCES="2")
    assert [gateway.create(name).status_code for name in "abc"] == [201, 201, 503]
    assert gateway.call("DELETE", "/api/instances/a").status_code == 204
    assert gateway.create("c").status_code == 201


def test_idle_instance_stays_until_it_is_deleted(gateway: GatewayProcess) -> None:
    """The built-in image is one quiet process; deleting it leaves nothing."""
    gateway.create("idle")
    (pid,) = pids_of("idle")
    process = psutil.Process(pid)
    assert process.cpu_times().user < 1
    assert os.getsid(pid) == pid
    assert gateway.call("DELETE", "/api/instances/idle").status_code == 204
    assert pids_of("idle") == []


def test_killed_instance_is_listed_as_exited(gateway: GatewayProcess) -> None:
    """An end nobody asked for is seen, and keeps the name until the instance is deleted."""
    gateway.create("killed", request_id="one")
    os.kill(pids_of("killed")[0], 9)
    eventually(lambda: gateway.listed()["killed"]["status"] == "exited")
    one = gateway.call("GET", "/api/instances/killed").json()
    assert (one["exitCode"], one["exitSignal"]) == (137, 9)
    assert gateway.create("killed", request_id="two").status_code == 409
    assert gateway.create("killed", request_id="one").json()["status"] == "exited"
    assert gateway.call("DELETE", "/api/instances/killed").status_code == 204


def test_code_is_fetched_with_the_managed_secret(
    gateway: GatewayProcess, platform: FakePlatform
) -> None:
    """The platform is shown the managed secret and no group's token; last words of a crash stay."""
    platform.add_artifact(IMAGE, make_artifact({"script.py": ""}))
    assert gateway.create("crash", image=IMAGE, memory_gb=0.5).status_code == 201
    ((headers, _),) = platform.calls_of("artifact")
    assert "authorization" not in headers
    eventually(lambda: gateway.listed()["crash"]["status"] == "exited")
    one = gateway.listed()["crash"]
    assert one["exitCode"] == 1
    assert "KeyError: 'TRIGGER_SUPERVISOR_API_PROTOCOL'" in one["lastWords"]


@pytest.mark.parametrize(
    ("artifact", "status"),
    [(None, 422), ((b"no archive", None), 500), ((b"x", "0" * 64), 500)],
)
def test_image_that_cannot_be_run(
    gateway: GatewayProcess,
    platform: FakePlatform,
    artifact: tuple[bytes, str | None] | None,
    status: int,
) -> None:
    """No such image is 422, one that is broken 500; nothing of it is listed, its name is free."""
    if artifact is not None:
        platform.add_artifact("bad", artifact[0], digest=artifact[1])
    for _ in range(2):
        answer = gateway.create("bad", image="bad")
        assert answer.status_code == status
        assert answer.json()["error"]
    assert gateway.listed() == {}


def test_stop_ends_every_instance_and_says_so(start_gateway: Callable[..., GatewayProcess]) -> None:
    """Nothing works on without its gateway, and the log names what was ended."""
    gateway = start_gateway()
    for name in ("one", "two"):
        gateway.create(name)
    assert gateway.stop() == 0
    assert pids_of("one") + pids_of("two") == []
    assert gateway.events("gateway.stopped")[0]["ended"] == ["one", "two"]


def test_killed_gateway_takes_its_instances_along(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    """After kill -9 nothing works on; the next start says what it cleared and begins empty."""
    gateway = start_gateway()
    gateway.create("orphan")
    gateway.kill()
    eventually(lambda: pids_of("orphan") == [])
    gateway.start()
    assert gateway.events("workloads.prepared")[-1]["cleared"] == ["orphan"]
    assert gateway.listed() == {}
    assert gateway.create("orphan").status_code == 201


def test_one_gateway_per_folder(start_gateway: Callable[..., GatewayProcess]) -> None:
    """A second gateway on the same folder says so and ends, and harms nothing."""
    first = start_gateway()
    first.create("mine")
    second = start_gateway(ready=False)
    assert second.process is not None
    assert second.process.wait(60) == 1
    assert "another process" in second.log_text
    assert first.listed()["mine"]["status"] == "running"
