"""`crossfade trigger` and `crossfade runs`: what they send, print, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from crossfade.cli.parser import parse
from crossfade.client.errors import ApiError
from tests.command_line import command_environment, crossfade
from tests.fake_rest_api import DEV_KEY, FakePlatform, serving_rest

if TYPE_CHECKING:
    from pathlib import Path


def with_task(name: str) -> FakePlatform:
    """Give a platform whose current version has a task."""
    deployment = {"id": "deployment_1", "worker": {"tasks": [{"slug": name}]}}
    return FakePlatform(deployments={"deployment_1": deployment}, current="deployment_1")


def test_trigger_prints_the_id() -> None:
    """Without --wait stdout is one object with the run's id, and stderr has no warning."""
    platform = with_task("hello")
    with serving_rest(platform) as url:
        said = crossfade("trigger", "hello", "--payload", '{"name": "Ada"}', url=url)
    assert (said.code, json.loads(said.out)) == (0, {"id": "run_1"})
    assert "warning" not in said.err
    assert platform.runs["run_1"]["payload"] == {"name": "Ada"}


def test_every_option_reaches_the_wire() -> None:
    """Options of the command are options of the trigger, under their wire names."""
    platform = with_task("a/b")
    options = [
        "--region", "eu", "--idempotency-key", "k", "--delay", "5m", "--ttl", "1h", "--tag", "x",
        "--tag", "y", "--queue", "q", "--machine", "micro", "--priority", "1.5",
        "--max-attempts", "2", "--concurrency-key", "c",
    ]  # fmt: skip
    with serving_rest(platform) as url:
        said = crossfade("trigger", "a/b", "--payload", "[1]", *options, url=url)
    assert said.code == 0, said.err
    run = platform.runs["run_1"]
    assert run["taskIdentifier"] == "a/b"
    assert len(run["options"].pop("idempotencyKey")) == 64
    assert run["options"] == {
        "payloadType": "application/json",
        "region": "eu",
        "idempotencyKeyOptions": {"key": "k", "scope": "global"},
        "delay": "5m",
        "ttl": "1h",
        "tags": ["x", "y"],
        "queue": {"name": "q"},
        "machine": "micro",
        "priority": 1.5,
        "maxAttempts": 2,
        "concurrencyKey": "c",
    }


@pytest.mark.parametrize(("last", "code"), [("COMPLETED", 0), ("FAILED", 1)])
def test_waiting_prints_the_finished_run(last: str, code: int) -> None:
    """With --wait stdout is the finished run, and the exit code says whether it succeeded."""
    platform = with_task("hello")
    platform.statuses_to_come["run_1"] = ["QUEUED", "EXECUTING", last]
    with serving_rest(platform) as url:
        said = crossfade("trigger", "hello", "--wait", url=url)
    assert said.code == code
    assert json.loads(said.out)["status"] == last
    assert "run_1 EXECUTING" in said.err


def test_waiting_may_be_bounded() -> None:
    """--timeout ends the wait, not the run."""
    with serving_rest(with_task("hello")) as url:
        said = crossfade("trigger", "hello", "--wait", "--timeout", "0.3", url=url)
    assert (said.code, said.out) == (1, "")
    assert "it goes on" in said.err


@pytest.mark.parametrize("platform", [FakePlatform(), with_task("other")])
def test_an_unknown_task_is_a_warning(platform: FakePlatform) -> None:
    """The run is made all the same; stderr says that it waits for a version."""
    with serving_rest(platform) as url:
        said = crossfade("trigger", "hello", url=url)
    assert said.code == 0
    assert "waits until one has it" in said.err


def test_a_development_key_brings_no_warning() -> None:
    """A development environment has no deployments, so none of them can lack the task."""
    with serving_rest(FakePlatform()) as url:
        said = crossfade("trigger", "hello", url=url, key=DEV_KEY)
    assert (said.code, "warning" in said.err) == (0, False)


def test_a_lost_answer_makes_one_run() -> None:
    """The repeat of a trigger carries the same key, so the platform gives the same run."""
    platform = with_task("hello")
    platform.faults["trigger"] = ["lose_answer"]
    with serving_rest(platform) as url:
        assert crossfade("trigger", "hello", url=url).code == 0
    assert (len(platform.runs), platform.calls["trigger"]) == (1, 2)


def test_a_bad_payload_shows_its_position() -> None:
    """JSON that is none is refused before anything is sent, with line, column and a pointer."""
    with serving_rest(FakePlatform()) as url:
        said = crossfade("trigger", "hello", "--payload", "{'name': 1}", url=url)
    assert said.code == 2
    assert "line 1 column 2" in said.err
    assert "\n".join(line[8:] for line in said.err.splitlines()).endswith("  {'name': 1}\n   ^")


def test_a_payload_may_come_from_a_file_or_stdin(tmp_path: Path) -> None:
    """--payload-file reads a file; - reads stdin."""
    (tmp_path / "p.json").write_text('{"from": "file"}', "utf-8")
    platform = with_task("hello")
    with serving_rest(platform) as url:
        crossfade("trigger", "hello", "--payload-file", str(tmp_path / "p.json"), url=url)
        crossfade("trigger", "hello", "--payload-file", "-", url=url, stdin='"stdin"')
    assert [run["payload"] for run in platform.runs.values()] == [{"from": "file"}, "stdin"]


def test_runs_are_listed_over_pages() -> None:
    """The listing follows the cursor until it has as many as were asked for."""
    platform = FakePlatform()
    with serving_rest(platform) as url:
        for number in range(5):
            platform.runs[f"run_{number}"] = {
                "id": f"run_{number}", "taskIdentifier": "t", "status": "FAILED",
            }  # fmt: skip
        said = crossfade("runs", "list", "--limit", "3", "--status", "FAILED", url=url)
    assert [run["id"] for run in json.loads(said.out)["data"]] == ["run_4", "run_3", "run_2"]


def test_reading_cancelling_replaying() -> None:
    """Each prints one JSON object."""
    platform = FakePlatform(logs=[{"seq": 0, "stream": "stdout", "text": "hello"}])
    platform.runs["run_1"] = {"id": "run_1", "taskIdentifier": "t", "status": "EXECUTING"}
    with serving_rest(platform) as url:
        got = crossfade("runs", "get", "run_1", url=url)
        cancelled = crossfade("runs", "cancel", "run_1", url=url)
        replayed = crossfade("runs", "replay", "run_1", "--region", "eu", url=url)
        logs = crossfade("runs", "logs", "run_1", url=url)
        missing = crossfade("runs", "get", "run_9", url=url)
    assert json.loads(got.out)["status"] == "EXECUTING"
    assert json.loads(cancelled.out) == {"id": "run_1"}
    assert json.loads(replayed.out) == {"id": "run_2"}
    assert platform.runs["run_2"]["options"] == {"region": "eu"}
    assert logs.out == "hello\n"
    assert (missing.code, "Not found" in missing.err) == (1, True)


def test_a_reader_that_goes_away_is_no_failure() -> None:
    """Output into a pipe that is closed early ends the command without a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with serving_rest(with_task("hello")) as url:
        said = subprocess.run(
            [sys.executable, "-m", "crossfade", "trigger", "hello"],
            env=command_environment(url),
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
            timeout=60,
        )
    os.close(writing)
    assert (said.returncode, "Traceback" in said.stderr) == (141, False)


def test_a_key_tells_what_it_opens() -> None:
    """`whoami` prints environment, project and organization, and where they are."""
    with serving_rest(FakePlatform()) as url:
        said = crossfade("whoami", url=url)
    told = json.loads(said.out)
    assert (said.code, told["apiUrl"], told["type"]) == (0, url, "PRODUCTION")


def test_the_version_is_printed_without_any_key() -> None:
    """As every command line does."""
    said = crossfade("--version")
    assert (said.code, said.out.split()[0]) == (0, "crossfade")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trigger", "hello", "--delay", "soon"], "delay: 'soon' is neither a duration"),
        (["trigger", ""], "argument task: is empty"),
        (["runs", "get", " "], "argument run: is empty"),
    ],
)
def test_what_could_not_be_meant_is_refused_before_it_is_sent(
    arguments: list[str], sentence: str
) -> None:
    """The platform would take such a delay for now, and such an id for another address."""
    platform = with_task("hello")
    with serving_rest(platform) as url:
        said = crossfade(*arguments, url=url)
    assert said.code != 0
    assert sentence in said.err
    assert not platform.runs


@pytest.mark.parametrize("delay", ["10m", "2030-01-01", "2030-01-01T10:00:00Z"])
def test_delays_that_are_meant_are_sent(delay: str) -> None:
    """A duration, or a date with or without its time."""
    platform = with_task("hello")
    with serving_rest(platform) as url:
        assert crossfade("trigger", "hello", "--delay", delay, url=url).code == 0
    assert platform.runs["run_1"]["options"]["delay"] == delay


def test_an_address_without_its_scheme_is_named() -> None:
    """Not taken for a stack that is down."""
    said = crossfade("runs", "list", url="localhost:8030")
    assert said.code == 1
    assert "TRIGGER_API_URL is 'localhost:8030'; it begins with http:// or https://" in said.err
    assert "make run" not in said.err


def test_a_run_that_is_not_there_is_said_at_once() -> None:
    """Without asking again, and with a word about which environment was asked."""
    platform = FakePlatform()
    with serving_rest(platform) as url:
        said = crossfade("runs", "get", "run_nobodys", url=url)
    assert said.code == 1
    assert "`crossfade whoami` says which environment was asked" in said.err
    assert sum("run_nobodys" in path for _, path, _ in platform.asked) == 1


def test_statuses_are_taken_as_they_are_typed() -> None:
    """In small letters and with dashes, as the dashboard's addresses have them."""
    parsed = parse(["runs", "list", "--status", "system-failure", "--status", "QUEUED"])
    assert parsed.status == ["SYSTEM_FAILURE", "QUEUED"]


def test_a_refusal_says_each_sentence_once() -> None:
    """The first problem is the error itself."""
    error = ApiError(
        400, "ttl: no", ({"key": "ttl", "message": "no"}, {"key": "b", "message": "c"})
    )
    assert str(error) == "HTTP 400: ttl: no (b: c)"
