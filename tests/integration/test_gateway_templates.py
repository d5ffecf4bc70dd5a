"""Templates of the reference gateway: built on demand, started from, and never a lost start."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.callback_listener import CallbackListener
from tests.embedded_programs import is_alive
from tests.fake_workload_api import FakeRun, serving
from tests.fakes.gateway_fixtures import start_gateway
from tests.fakes.supervisor_fixtures import IMAGE, platform, shared_dir, uid_base
from tests.fakes.supervisor_process import REPOSITORY, eventually, make_artifact
from tests.runner_process import runner_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.fakes.gateway_process import GatewayProcess
    from tests.fakes.worker_platform import FakePlatform

__all__ = ["platform", "shared_dir", "start_gateway", "uid_base"]

LOOK_S = 0.05  # between two calls: the gateway they ask has something else to do
SMALL: dict[str, float] = {"cpu": 0.5, "memory_gb": 0.5}
LARGE: dict[str, float] = {"cpu": 1, "memory_gb": 1}
TASKS = """
import os, time
from crossfade import task

print("importing")

@task
def main():
    return {
        "pid": os.getpid(),
        "uid": os.getuid(),
        "session": os.getsid(0) == os.getpid(),
        "nice": os.nice(0),
        "home": os.path.samefile(os.environ["HOME"], os.getcwd()),
        "mode": oct(os.stat(os.getcwd()).st_mode & 0o777),
        "secret": os.environ.get("SECRET_OF_THE_GATEWAY"),
        "runner": os.environ["TRIGGER_RUNNER_ID"],
        "data_mb": __import__("resource").getrlimit(__import__("resource").RLIMIT_DATA)[1] >> 20,
    }
"""


@pytest.fixture
def start(
    start_gateway: Callable[..., GatewayProcess], platform: FakePlatform
) -> Callable[..., GatewayProcess]:
    """Give a function that starts a gateway whose workloads have the real runner."""
    platform.add_artifact(IMAGE, make_artifact({"tasks.py": TASKS}))

    def started(**extra: str) -> GatewayProcess:
        return start_gateway(PYTHONPATH=str(REPOSITORY), **extra)

    return started


@pytest.fixture
def listener() -> Generator[CallbackListener, None, None]:
    """Give somebody who hears callbacks."""
    heard = CallbackListener()
    yield heard
    heard.close()


def build(gateway: GatewayProcess, *machines: dict[str, float], **more: Any) -> httpx.Response:
    """Ask for a template, of a small machine unless said otherwise."""
    body = {"image": IMAGE, "machine_configs": list(machines) or [SMALL], **more}
    return gateway.call("POST", "/api/templates", json=body)


def warm_count(gateway: GatewayProcess) -> int:
    """Give how many processes wait for a run."""
    lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("gateway_warm_processes ")]
    return int(float(line.split()[1]))


def run_instance(gateway: GatewayProcess, name: str, **fields: Any) -> dict[str, Any]:
    """Run a task in a new instance to its end, and give what it returned."""
    run = FakeRun()
    with serving(run) as port:
        env = {**runner_variables(port), "TRIGGER_RUNNER_ID": name, **fields.pop("env", {})}
        answer = gateway.create(name, env=env, **{"image": IMAGE, **SMALL, **fields})
        assert answer.status_code == 201, answer.text
        eventually(lambda: gateway.listed()[name]["status"] == "exited", what=name, every_s=LOOK_S)
    (completion,) = run.completions
    assert completion["ok"], completion
    assert run.texts() == ["importing"]
    return dict(json.loads(completion["output"]))


def was_warm(gateway: GatewayProcess) -> list[bool]:
    """Give for each instance so far whether it was started from a template."""
    return [bool(line["warm"]) for line in gateway.events("instance.created")]


@pytest.mark.parametrize("users", ["true", "false"])
def test_instance_of_a_template_is_as_isolated_as_any(
    start: Callable[..., GatewayProcess], platform: FakePlatform, uid_base: int, users: str
) -> None:
    """From a template or not: own session, limits, private folder, own user, allowed variables.

    A process serves one run, and images of one content share their template.
    """
    gateway = start(CROSSFADE_WORKLOAD_USERS=users)
    cold = run_instance(gateway, "cold")
    assert build(gateway).json() == {"results": [{"machine_config": SMALL}]}
    assert warm_count(gateway) == 1
    warm = run_instance(gateway, "warm")
    assert was_warm(gateway) == [False, True]
    differ = {"pid", "uid", "runner"}
    assert {k: v for k, v in warm.items() if k not in differ} == {
        k: v for k, v in cold.items() if k not in differ
    }
    assert warm["runner"] == "warm"
    assert warm["data_mb"] == 512 + 64
    assert (warm["session"], warm["home"], warm["mode"], warm["secret"]) == (
        True, True, "0o700", None,
    )  # fmt: skip
    own_users = users == "true" and os.geteuid() == 0
    assert (uid_base <= warm["uid"] < uid_base + 208) is own_users
    eventually(lambda: warm_count(gateway) == 1, what="the next spare", every_s=LOOK_S)
    platform.add_artifact(f"{IMAGE}-copy", make_artifact({"tasks.py": TASKS}))
    again = run_instance(gateway, "again", image=f"{IMAGE}-copy")
    assert was_warm(gateway) == [False, True, True]
    assert again["pid"] != warm["pid"]


GARBAGE: list[bytes] = [
    b"", b"{", b"[]", b"null", b"{}", b'{"image": "i"}', b'{"image": "i", "machine_configs": []}',
    b'{"image": "", "machine_configs": [{"cpu": 1, "memory_gb": 1}]}',
    b'{"image": "i", "machine_configs": [{"cpu": "1", "memory_gb": 1}]}',
    b'{"image": "i", "machine_configs": [{"cpu": 1, "memory_gb": -1}]}',
    b'{"image": "i", "machine_configs": [{"cpu": 1, "memory_gb": NaN}]}',
    b'{"image": "i", "machine_configs": [{"cpu": 1, "memory_gb": 1}], "background": "yes"}',
    b'{"image": "i", "machine_configs": [{"cpu": 1, "memory_gb": 1}], "callback": {"url": "x"}}',
    b'{"image": "i", "machine_configs": [{"cpu": 1, "memory_gb": 1}], "callback": {"url": "ftp://x"}}',
]  # fmt: skip


def test_results_are_per_machine_and_unusable_images_are_errors(
    start: Callable[..., GatewayProcess], platform: FakePlatform
) -> None:
    """Every size has its result in its place; an image that cannot be used is 200 with errors.

    What cannot be meant is 400, without the token 401, another method 405; it builds nothing.
    """
    gateway = start()
    for raw in GARBAGE:
        answer = gateway.call("POST", "/api/templates", content=raw)
        assert answer.status_code == 400, raw
        assert set(answer.json()) == {"error", "problems"}
    assert httpx.post(f"{gateway.url}/api/templates", json={}).status_code == 401
    assert gateway.call("GET", "/api/templates").status_code == 405
    assert warm_count(gateway) == 0
    good = build(gateway, SMALL, LARGE, SMALL)
    assert good.status_code == 200
    assert [one["machine_config"] for one in good.json()["results"]] == [SMALL, LARGE, SMALL]
    assert not any("error" in one for one in good.json()["results"])
    assert build(gateway, image="builtin/idle").json() == {"results": [{"machine_config": SMALL}]}
    platform.add_artifact("broken", b"no archive")
    platform.add_artifact(
        "needy", make_artifact({"tasks.py": TASKS, "requirements.txt": "-e /etc"})
    )
    for image, word in (("gone", "no artifact"), ("broken", "unpacked"), ("needy", "plain")):
        answer = build(gateway, SMALL, LARGE, image=image)
        assert answer.status_code == 200
        assert [word in one["error"] for one in answer.json()["results"]] == [True, True], answer
    assert warm_count(gateway) == 2


def test_background_answers_at_once_and_calls_back_until_it_is_heard(
    start: Callable[..., GatewayProcess], platform: FakePlatform, listener: CallbackListener
) -> None:
    """A background build is 202; its callback is repeated while it is refused, and then no more.

    Requests at once, also for images of one content, share the work and are all told it is there.
    """
    gateway = start()
    platform.add_artifact(f"{IMAGE}-copy", make_artifact({"tasks.py": TASKS}))
    listener.statuses = [302, 204]
    callback = {"url": listener.url, "metadata": {"id": "t1"}}
    answer = build(gateway, SMALL, background=True, callback=callback)
    assert (answer.status_code, answer.content) == (202, b"")
    eventually(lambda: len(listener.heard) == 2, what="the callback")
    assert listener.heard[0] == listener.heard[1]
    told = listener.heard[0]
    assert (told["image"], told["metadata"]) == (IMAGE, {"id": "t1"})
    assert told["results"] == [{"machine_config": SMALL}]
    assert told["duration_ms"] > 0
    with ThreadPoolExecutor(8) as pool:
        images = [IMAGE, f"{IMAGE}-copy"] * 4
        answers = list(pool.map(lambda image: build(gateway, image=image).json(), images))
    assert answers == [{"results": [{"machine_config": SMALL}]}] * 8
    assert len(platform.calls_of("artifact")) == 2
    assert warm_count(gateway) == 1
    build(gateway, image="gone", callback=callback)
    eventually(lambda: len(listener.heard) == 3, what="the other callback")
    assert "no artifact" in listener.heard[2]["results"][0]["error"]


def test_platform_that_is_away_for_a_moment_is_asked_again(
    start: Callable[..., GatewayProcess], platform: FakePlatform, listener: CallbackListener
) -> None:
    """Nobody waits in the background, and what is told of a template is final: so it goes on."""
    gateway = start()
    platform.arm("artifact", "refuse", status=503)
    platform.arm("artifact", "lose")
    build(gateway, SMALL, background=True, callback={"url": listener.url})
    eventually(lambda: len(listener.heard) == 1, what="the callback")
    assert listener.heard[0]["results"] == [{"machine_config": SMALL}]
    assert len(platform.calls_of("artifact")) == 3
    assert len(gateway.events("template.waits")) == 2


def test_credentials_in_requirements_are_told_to_nobody(
    start: Callable[..., GatewayProcess], platform: FakePlatform
) -> None:
    """The line that cannot be installed is named without the password of its address."""
    gateway = start()
    lines = {
        "option": "--index-url https://user:hunter2@127.0.0.1:1/simple",
        "address": "x @ https://user:hunter2@127.0.0.1:1/x-1-py3-none-any.whl",
    }
    for image, line in lines.items():
        files = {"tasks.py": TASKS, "requirements.txt": line}
        platform.add_artifact(image, make_artifact(files))
        answer = build(gateway, image=image)
        assert "127.0.0.1:1" in answer.text
        assert "hunter2" not in answer.text
    assert "hunter2" not in gateway.log_text


def test_dead_spare_costs_a_cold_start_and_no_run(start: Callable[..., GatewayProcess]) -> None:
    """A spare that died is not missed, one that hangs is replaced by an ordinary start."""
    gateway = start()
    build(gateway)
    os.kill(spare_of(gateway), 9)
    eventually(lambda: warm_count(gateway) == 0, every_s=LOOK_S)
    run_instance(gateway, "after-death")
    eventually(lambda: warm_count(gateway) == 1, what="the next spare", every_s=LOOK_S)
    os.kill(spare_of(gateway), 19)  # SIGSTOP: it lives and does not answer
    run_instance(gateway, "after-hang")
    assert was_warm(gateway) == [False, False]
    assert len(gateway.events("spare.lost")) == 1


def spare_of(gateway: GatewayProcess) -> int:
    """Give the process that waits for a run."""
    (pid,) = spares_of(gateway)
    return pid


def spares_of(gateway: GatewayProcess) -> list[int]:
    """Give the processes that wait for a run."""
    children = psutil.Process(gateway.pid).children()
    return [
        child.pid
        for child in children
        if child.status() != "zombie"
        and child.environ().get("TRIGGER_RUNNER_ID", "").startswith(".warm-")
    ]


def test_code_that_cannot_be_imported_beforehand_still_has_a_template(
    start: Callable[..., GatewayProcess], platform: FakePlatform
) -> None:
    """Code that needs its run's variables, or crashes while imported, is left to its runs."""
    needs = "KEY = os.environ['API_KEY']\n"
    dies = "'API_KEY' in os.environ or os._exit(3)\n"
    gateway = start()
    for number, extra in enumerate((needs, dies)):
        tasks = f"import os\n{extra}{TASKS}"
        platform.add_artifact(IMAGE, make_artifact({"tasks.py": tasks}))
        image = f"{IMAGE}-{number}"
        platform.add_artifact(image, make_artifact({"tasks.py": tasks}))
        assert build(gateway, image=image).json() == {"results": [{"machine_config": SMALL}]}
        env = {"API_KEY": "k"}
        run_instance(gateway, f"i{number}", image=image, env=env)
    assert len(gateway.events("template.bare")) == 2
    assert was_warm(gateway) == [True, True]


def test_spares_are_bounded_and_idle_ones_end(
    start: Callable[..., GatewayProcess], platform: FakePlatform
) -> None:
    """The spare that was ready longest makes room; one that nobody takes ends after its time."""
    gateway = start(GATEWAY_MAX_WARM="1", GATEWAY_WARM_IDLE_SECONDS="2")
    build(gateway, SMALL)
    build(gateway, LARGE)
    assert warm_count(gateway) == len(spares_of(gateway)) == 1
    eventually(lambda: warm_count(gateway) == 0, what="the end of the idle one", every_s=LOOK_S)
    eventually(lambda: spares_of(gateway) == [])
    run_instance(gateway, "brings-it-back")
    eventually(
        lambda: warm_count(gateway) == 1, what="the spare of a known template", every_s=LOOK_S
    )


def test_without_room_for_spares_code_is_only_prepared(
    start: Callable[..., GatewayProcess], platform: FakePlatform
) -> None:
    """With no spares allowed a template is the code, fetched and unpacked, and starts are cold."""
    gateway = start(GATEWAY_MAX_WARM="0")
    assert build(gateway).json() == {"results": [{"machine_config": SMALL}]}
    assert len(platform.calls_of("artifact")) == 1
    run_instance(gateway, "one")
    assert was_warm(gateway) == [False]
    assert len(platform.calls_of("artifact")) == 1
    assert spares_of(gateway) == []


def test_killed_gateway_forgets_no_template_and_leaves_no_spare(
    start: Callable[..., GatewayProcess],
) -> None:
    """Spares die with their gateway; the next one brings a template back at its first run.

    It clears what its own folder names, and touches no spare of another gateway of the machine.
    """
    gateway = start()
    neighbour = start(GATEWAY_DIR=f"{gateway.state_dir}-of-another")
    build(neighbour)
    build(gateway)
    spare = spare_of(gateway)
    gateway.kill()
    eventually(lambda: not is_alive(spare), what="the end of the spare")
    gateway.start()
    (cleared,) = gateway.events("workloads.prepared")[-1]["cleared"]
    assert cleared.startswith(".warm-")
    assert psutil.pid_exists(spare_of(neighbour))
    assert (warm_count(gateway), warm_count(neighbour)) == (0, 1)
    run_instance(gateway, "first")
    eventually(lambda: warm_count(gateway) == 1, what="the spare", every_s=LOOK_S)
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log_text
