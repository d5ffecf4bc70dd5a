"""How `crossfade deploy` shows that it goes on, and ends: each way it can fail has one clear reason."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crossfade import Client
from crossfade.client.deployments import FinalizeFailed
from crossfade.client.retry import RetryPolicy
from tests.command_line import command_environment, crossfade
from tests.fake_rest_api import DEV_KEY, PROD_KEY, FakePlatform, serving_rest
from tests.runner_process import write_task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASK = "@task\ndef one(payload):\n    return 1\n"
LOST = "The deployment was not finished within 8 minutes"


def deploy(platform: FakePlatform, folder: Path, **options: str) -> Any:
    """Deploy one task to the platform."""
    write_task(folder, TASK)
    with serving_rest(platform) as url:
        return crossfade("deploy", str(folder), url=url, **options)


def reason(said: Any) -> str:
    """Give the one line that says why; nothing else looks like one, and there is no result."""
    assert (said.code, said.out) == (1, ""), said.err
    assert "Traceback" not in said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("error ")]
    assert said.err.splitlines()[-1] == line
    return str(line)


# -- each way to fail ------------------------------------------------------------------------------


def test_a_key_nobody_knows_is_named(tmp_path: Path) -> None:
    """Nothing was begun, and where the key is not known is said."""
    platform = FakePlatform()
    told = reason(deploy(platform, tmp_path, key="tr_prod_wrong"))
    assert re.search(r"Invalid API Key; http://127\.0\.0\.1:\d+ does not know this key", told)
    assert platform.deployments == {}


def test_nothing_is_deployed_to_development(tmp_path: Path) -> None:
    """A development key is refused here, with the command that is meant; nothing was asked for."""
    platform = FakePlatform()
    told = reason(deploy(platform, tmp_path, key=DEV_KEY))
    assert f"`crossfade dev {tmp_path}`" in told
    assert platform.asked == []


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        ("deployments", 422, "POST /api/v1/deployments: HTTP 422: scripted 422"),
        ("artifacts", 413, "POST /api/v1/artifacts: HTTP 413: scripted 413"),
        ("upload", 400, "HTTP 400: scripted 400"),
        ("background-workers", 400, "background-workers: HTTP 400: scripted 400"),
        ("finalize", 422, "finalize: HTTP 422: scripted 422"),
    ],
)
def test_a_call_that_is_refused_is_named(tmp_path: Path, call: str, status: int, said: str) -> None:
    """The last line names the call and the platform's own words; what was begun is marked failed."""
    platform = FakePlatform(faults={call: [status]})
    told = reason(deploy(platform, tmp_path))
    assert said in told
    begun = [one["status"] for one in platform.deployments.values()]
    assert begun == ([] if call == "deployments" else ["FAILED"])


@pytest.mark.parametrize(
    "error",
    [
        "The artifact sha256:0 has not been uploaded",
        "The code could not be prepared: small-1x: no disk",
        "A deployment that is TIMED_OUT cannot finalize",
        "A deployment that is CANCELED cannot finalize",
    ],
)
def test_what_the_platform_gave_up_on_is_not_marked_again(tmp_path: Path, error: str) -> None:
    """An error event, of a template in required mode too, is the reason; lines before it stay."""
    events = [("log", {"message": "Preparing the code for small-1x"}), ("error", {"error": error})]
    platform = FakePlatform(finalize_events=events)
    said = deploy(platform, tmp_path)
    assert reason(said).endswith(f"the platform gave up on the deployment: {error}")
    assert "deploy  Preparing the code for small-1x" in said.err
    assert platform.calls["fail"] + platform.calls["cancel"] == 0


def test_a_reason_that_was_lost_on_the_way_is_asked_for(tmp_path: Path) -> None:
    """When the stream broke and the deployment is over by the repeat, its own error is shown."""
    platform = FakePlatform(
        faults={"finalize": ["lose_answer", 409]},
        fate={"status": "TIMED_OUT", "errorData": {"name": "TimeoutError", "message": LOST}},
    )
    assert reason(deploy(platform, tmp_path)).endswith(LOST)
    assert platform.calls["finalize"] == 2


def test_a_platform_that_falls_silent_is_not_waited_for_for_ever() -> None:
    """A stream without even a ping is left, and what became of it is asked for."""
    platform = FakePlatform(faults={"finalize": ["hold", 409]}, fate={"status": "CANCELED"})
    platform.deployments["deployment_1"] = {"id": "deployment_1"}
    began_s = time.monotonic()
    with serving_rest(platform) as url, Client(url, PROD_KEY) as client:
        with pytest.raises(FinalizeFailed, match="somebody canceled it"):
            client.deployments.finalize("deployment_1", on_log=print, silence_s=0.2)
        platform.over.set()
    assert time.monotonic() - began_s < 10


def test_a_busy_platform_is_waited_for(tmp_path: Path) -> None:
    """503 with `Retry-After` is no failure: it is asked again when it says so, as often as it takes."""
    platform = FakePlatform(faults={"finalize": [503] * 6}, fault_headers={"retry-after": "0"})
    said = deploy(platform, tmp_path)
    assert said.code == 0, said.err
    assert platform.calls["finalize"] == 7
    assert said.err.count("deploy  The platform is busy; asking again in 0 s") == 6
    assert platform.calls["fail"] == 0


def test_a_refusal_that_names_a_wait_and_forbids_a_repeat_is_final(tmp_path: Path) -> None:
    """A throttle of wrong credentials says when, and that it is of no use."""
    headers = {"retry-after": "0", "x-should-retry": "false"}
    platform = FakePlatform(faults={"finalize": [429] * 2}, fault_headers=headers)
    assert "HTTP 429: scripted 429" in reason(deploy(platform, tmp_path))
    assert platform.calls["finalize"] == 1


def test_a_passing_fault_within_the_stream_is_asked_again(tmp_path: Path) -> None:
    """The platform lost its database while it worked: the end is not this, but that of the repeat."""
    platform = FakePlatform()
    lost = [("error", {"error": "The database is not available", "status": 503})]
    platform.streams = [lost, lost]
    said = deploy(platform, tmp_path)
    assert said.code == 0, said.err
    assert platform.calls["finalize"] == 3


def test_a_fault_that_stays_marks_the_deployment(tmp_path: Path) -> None:
    """What is neither the deployment's end nor passes is failed, so that nobody waits for it."""
    platform = FakePlatform(finalize_events=[("error", {"error": "not uploaded", "status": 422})])
    assert "finalize: HTTP 422: not uploaded" in reason(deploy(platform, tmp_path))
    (begun,) = platform.deployments.values()
    assert begun["status"] == "FAILED"


def test_an_end_that_came_meanwhile_is_told_with_its_own_reason(tmp_path: Path) -> None:
    """When it timed out while its code was prepared, the deployment's own error is shown."""
    platform = FakePlatform(
        finalize_events=[("error", {"error": "A deployment that ...", "status": 409})],
        fate={"status": "TIMED_OUT", "errorData": {"name": "TimeoutError", "message": LOST}},
    )
    assert reason(deploy(platform, tmp_path)).endswith(LOST)
    assert platform.calls["fail"] == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:8030", "TRIGGER_API_URL is '127.0.0.1:8030'"),
        ("{url}/moved", "HTTP 301: it is to be found at https://else.where/"),
        ("{url}/page", "a web page came in place of an answer; is this the platform's address?"),
    ],
)
def test_a_wrong_address_is_told(tmp_path: Path, url: str, said: str) -> None:
    """What is no address is named at once, and of a web page nothing is shown."""
    write_task(tmp_path, TASK)
    with serving_rest(FakePlatform()) as real:
        told = reason(crossfade("deploy", str(tmp_path), url=url.format(url=real)))
    assert said in told
    assert "<" not in told


# -- interrupted -----------------------------------------------------------------------------------


@contextmanager
def deploying(url: str, folder: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a deploy in a process of its own; it is gone when the block ends."""
    write_task(folder, TASK)
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfade", "deploy", str(folder)],
        env=command_environment(url) | options.pop("env", {}),
        stdin=subprocess.DEVNULL,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("step", ["background-workers", "finalize"])
def test_ctrl_c_cancels_the_deployment(tmp_path: Path, step: str) -> None:
    """Whoever interrupts it leaves nothing half done behind, and the exit code says so."""
    platform = FakePlatform(faults={step: ["hold"]})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with serving_rest(platform) as url, deploying(url, tmp_path, **pipes) as process:
        platform.until(lambda: platform.calls[step])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        platform.over.set()
    assert (process.returncode, out) == (130, b"")
    lines = err.decode().splitlines()
    assert lines[-2:] == [
        "deploy  the deployment is canceled; the current version stays",
        "error   interrupted",
    ]
    (begun,) = platform.deployments.values()
    assert (begun["status"], begun["reason"]) == ("CANCELED", "Interrupted by whoever deployed")


def test_a_broken_upload_is_told_from_its_beginning() -> None:
    """Each try sends all bytes again, in pieces that are told; what arrives is what was packed."""
    platform = FakePlatform(faults={"upload": [503, "lose_answer"]})
    data = bytes(range(256)) * 800
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    told: list[tuple[int, int]] = []
    quick = RetryPolicy(first_wait_s=0.001)
    with serving_rest(platform) as url, Client(url, PROD_KEY, retries=quick) as client:
        assert client.deployments.upload_artifact(
            digest, data, on_sent=lambda done, whole: told.append((done, whole))
        )
    assert platform.artifacts == {digest: data}
    once = [(65_536, 204_800), (131_072, 204_800), (196_608, 204_800), (204_800, 204_800)]
    assert told == once * 3


# -- shown -----------------------------------------------------------------------------------------


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    """Nothing is rewritten in a log: no escape, no bar, each line once."""
    said = deploy(FakePlatform(), tmp_path)
    assert "\x1b" not in said.err
    assert "\r" not in said.err
    assert [line.partition(" ")[0] for line in said.err.splitlines()] == ["deploy"] * 6


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """A line that is written anew shows step by step how far it is; at its end only lines are left."""
    platform = FakePlatform()
    master, slave = pty.openpty()
    with serving_rest(platform) as url:
        options = {"stdout": subprocess.PIPE, "stderr": slave, "env": {"TERM": "xterm"}}
        with deploying(url, tmp_path, **options) as process:
            out, _ = process.communicate(timeout=30)
    os.close(slave)
    shown = os.read(master, 1_000_000).decode().replace("\r\n", "\n")
    os.close(master)
    assert b'"version"' in out
    drawn = re.findall(r"deploy  \[[#.]{24}\] (\d)/5 (\w+)", shown)
    assert list(dict.fromkeys(drawn)) == [
        ("1", "indexing"), ("2", "beginning"), ("3", "uploading"), ("4", "registering"),
        ("5", "deploying"),
    ]  # fmt: skip
    left = re.sub(r"[^\n]*\r\x1b\[2K", "", shown)
    assert "[#" not in left
    assert left.splitlines()[-1] == "deploy  version 20261122.1 is deployed"
