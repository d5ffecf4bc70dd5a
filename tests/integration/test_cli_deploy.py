"""`crossfade deploy`: what it packs, calls, prints, and says when something is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.command_line import crossfade
from tests.fake_rest_api import PROD_KEY, FakePlatform, serving_rest
from tests.runner_process import write_task

if TYPE_CHECKING:
    from pathlib import Path

TASKS = """
    @task(id="one", queue=Queue("mail", 3), machine="small-2x",
          retry=Retry(max_attempts=5, out_of_memory_machine="large-1x"), max_duration=30, ttl="10m")
    def one(payload):
        return 1

    @task
    def two_words(payload):
        return 2
"""


def names_in(data: bytes) -> list[str]:
    """Give the names in an artifact."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_a_deploy_from_begin_to_end(tmp_path: Path) -> None:
    """The calls come in order, the artifact is what was digested, stdout has one JSON object."""
    write_task(tmp_path, TASKS)
    (tmp_path / "data.csv").write_text("a,b\n", "utf-8")
    platform = FakePlatform()
    with serving_rest(platform) as url:
        said = crossfade("deploy", str(tmp_path), url=url)
    assert said.code == 0, said.err
    assert json.loads(said.out) == {
        "id": "deployment_1",
        "version": "20261122.1",
        "tasks": ["one", "two-words"],
    }
    assert [path for _, path, _ in platform.asked] == [
        "/api/v1/deployments/current",
        "/api/v1/deployments",
        "/api/v1/artifacts",
        f"/uploads/{platform.asked[2][2]['digest']}",
        "/api/v1/deployments/deployment_1/background-workers",
        "/api/v3/deployments/deployment_1/finalize",
    ]
    [(digest, data)] = platform.artifacts.items()
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert names_in(data) == ["data.csv", "tasks.py"]
    asked = platform.deployments["deployment_1"]["asked"]
    assert (asked["type"], asked["runtime"], asked["artifactKey"], asked["initialStatus"]) == (
        "MANAGED", "python", digest, "BUILDING",
    )  # fmt: skip
    assert "nearly" in said.err


def test_tasks_that_are_gone_are_named(tmp_path: Path) -> None:
    """A deployment replaces all tasks, which is easily missed with one file of many."""
    write_task(tmp_path, TASKS)
    tasks = [{"slug": name} for name in ("one", "report", "hello")]
    before = {"id": "deployment_0", "worker": {"tasks": tasks}}
    platform = FakePlatform(deployments={"deployment_0": before}, current="deployment_0")
    with serving_rest(platform) as url:
        said = crossfade("deploy", str(tmp_path), url=url)
    assert said.code == 0
    told = "no longer deployed: hello, report; new runs of them wait for a version"
    assert said.err.count(told) == 1


def test_tasks_are_registered_with_their_settings(tmp_path: Path) -> None:
    """Every option of @task arrives under its wire name; what is not set is left out."""
    write_task(tmp_path, TASKS)
    platform = FakePlatform()
    with serving_rest(platform) as url:
        crossfade("deploy", str(tmp_path / "tasks.py"), url=url)
    body = next(body for _, path, body in platform.asked if path.endswith("background-workers"))
    assert (body["localOnly"], body["engine"]) == (False, "V2")
    assert body["metadata"]["tasks"] == [
        {
            "id": "one",
            "filePath": "tasks.py",
            "exportName": "one",
            "queue": {"name": "mail", "concurrencyLimit": 3},
            "machine": {"preset": "small-2x"},
            "retry": {
                "maxAttempts": 5,
                "factor": 2.0,
                "minTimeoutInMs": 1000,
                "maxTimeoutInMs": 60000,
                "randomize": True,
                "outOfMemory": {"machine": "large-1x"},
            },
            "maxDuration": 30,
            "ttl": "10m",
        },
        {"id": "two-words", "filePath": "tasks.py", "exportName": "two_words"},
    ]


def test_a_package_keeps_its_name_and_its_relative_imports(tmp_path: Path) -> None:
    """A package is deployed as a package, with its requirements at the top."""
    package = tmp_path / "shop"
    write_task(package, "from .prices import VAT\n@task\ndef main(payload):\n    return VAT\n")
    (package / "__init__.py").touch()
    (package / "prices.py").write_text("VAT = 19\n", "utf-8")
    (package / "requirements.txt").write_text("", "utf-8")
    platform = FakePlatform()
    with serving_rest(platform) as url:
        said = crossfade("deploy", str(package), url=url)
    assert said.code == 0, said.err
    [data] = platform.artifacts.values()
    names = names_in(data)
    assert "shop/prices.py" in names
    assert "requirements.txt" in names
    assert platform.deployments["deployment_1"]["worker"]["tasks"][0]["filePath"] == "shop/tasks.py"


def test_lost_answers_and_busy_servers_make_one_deployment(tmp_path: Path) -> None:
    """Each call is repeated with its idempotency key until it is answered."""
    write_task(tmp_path, TASKS)
    platform = FakePlatform(
        faults={
            "deployments": ["lose_answer"],
            "artifacts": [503],
            "background-workers": ["lose_answer"],
            "finalize": [503],
        }
    )
    with serving_rest(platform) as url:
        said = crossfade("deploy", str(tmp_path), url=url)
    assert said.code == 0, said.err
    assert list(platform.deployments) == ["deployment_1"]
    assert platform.deployments["deployment_1"]["status"] == "DEPLOYED"


def test_an_artifact_that_is_there_is_not_uploaded(tmp_path: Path) -> None:
    """The same files deployed again are a new version of the same artifact."""
    write_task(tmp_path, TASKS)
    platform = FakePlatform()
    with serving_rest(platform) as url:
        crossfade("deploy", str(tmp_path), url=url)
        said = crossfade("deploy", str(tmp_path), url=url)
    assert json.loads(said.out)["version"] == "20261122.2"
    assert len([1 for method, _, _ in platform.asked if method == "PUT"]) == 1


def test_a_failure_on_the_way_marks_the_deployment(tmp_path: Path) -> None:
    """A deployment that cannot get to its end is failed with the reason, and the exit code is 1."""
    write_task(tmp_path, TASKS)
    platform = FakePlatform(faults={"background-workers": [422]})
    with serving_rest(platform) as url:
        said = crossfade("deploy", str(tmp_path), url=url)
    assert (said.code, said.out) == (1, "")
    assert "scripted 422" in said.err
    assert platform.deployments["deployment_1"]["status"] == "FAILED"
    assert "scripted 422" in platform.deployments["deployment_1"]["error"]["message"]


def test_the_platforms_own_failure_is_shown(tmp_path: Path) -> None:
    """An error event of the finalize stream is the reason that is printed."""
    write_task(tmp_path, TASKS)
    platform = FakePlatform(finalize_events=[("error", {"error": "no room"})])
    with serving_rest(platform) as url:
        said = crossfade("deploy", str(tmp_path), url=url)
    assert said.code == 1
    assert "no room" in said.err
    assert platform.calls["fail"] == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError"),
        ("import nothing_like_it", "'nothing_like_it' is not installed here"),
        ("@task(id='a')\ndef a(p): ...\n@task(id='a')\ndef b(p): ...", "two tasks have the id 'a'"),
        ("@task(machine='huge')\ndef a(p): ...", "machine is 'huge'"),
        ("os._exit(7)", "ended their process (7)"),
        ("", "has no task"),
        (
            "@task(queue=Queue('q', 1))\ndef a(p): ...\n@task(queue=Queue('q', 2))\ndef b(p): ...",
            "the queue 'q' has the limit 1",
        ),
    ],
)
def test_tasks_that_cannot_be_indexed(tmp_path: Path, source: str, said: str) -> None:
    """The author sees their own error and file, and nothing was sent."""
    write_task(tmp_path, source)
    platform = FakePlatform()
    with serving_rest(platform) as url:
        result = crossfade("deploy", str(tmp_path), url=url)
    assert (result.code, platform.asked) == (1, [])
    assert said in result.err
    assert "crossfade-index-" not in result.err


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        (("deploy", "nowhere"), PROD_KEY, "nowhere does not exist"),
        (("runs", "list"), "", "TRIGGER_SECRET_KEY is not set"),
        (("runs", "list"), "tr_prod_wrong", "Invalid API Key"),
        (("dev", "."), PROD_KEY, "TRIGGER_DEV_SECRET_KEY is not set"),
    ],
)
def test_what_a_person_gets_wrong_is_said(arguments: tuple[str, ...], key: str, said: str) -> None:
    """Each mistake has its sentence, and no traceback."""
    with serving_rest(FakePlatform()) as url:
        result = crossfade(*arguments, url=url, key=key)
    assert result.code == 1
    assert said in result.err
    assert "Traceback" not in result.err


def test_nobody_answering_names_the_way_out() -> None:
    """A refused connection says where it was looked for and how to start the stack."""
    result = crossfade("runs", "list", url="http://127.0.0.1:1")
    assert result.code == 1
    assert "http://127.0.0.1:1" in result.err
    assert "make run" in result.err
