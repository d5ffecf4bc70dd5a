"""A deploy that waits for its template goes through, whichever process dies meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import GATEWAY, REPOSITORY, LiveStack
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_S = 120.0

# Its import lasts until the gate is opened; the command line, which is told to, does not wait.
SOURCE = '''
import os
import time
from pathlib import Path

from crossfade import task

folder = Path({folder!r})
if "PASS_THE_GATE" not in os.environ:
    (folder / "waits").touch()
    while not (folder / "open").exists():
        time.sleep(0.05)


@task(id="gated")
def gated(payload):
    """Say which version this is."""
    return {version!r}
'''


@contextmanager
def deploying(stack: LiveStack, key: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `crossfade deploy` beside; after the block nothing of it is left."""
    command = [sys.executable, "-m", "crossfade", "deploy", str(folder)]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**stack.client_environment(key), "PASS_THE_GATE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def built(stack: LiveStack, version: str) -> Counter[tuple[Any, ...]]:
    """Count how often the gateway built a version, by machine."""
    events = stack.events(GATEWAY, "template.built")
    return Counter((e["image"], e["memory_gb"]) for e in events if version in e["image"])


@pytest.mark.parametrize("process", ["postgres", "web", GATEWAY, "valkey", "worker"])
@pytest.mark.fault(
    kills="PostgreSQL, web, gateway, Valkey, worker: each alone, for real",
    step="deploying, while `crossfade deploy` waits for a required template",
    expects="the deploy goes through with its template ready; nothing is built twice",
)
def test_a_waiting_deploy_survives(
    live_stack: LiveStack, requiring: dict[str, str], shared_file: Path, process: str
) -> None:
    """The author sees one deploy that takes a little longer; the version runs on MicroVMs."""
    key, gate = requiring["prod"], shared_file.parent
    code = gate / "code"
    code.mkdir(mode=0o755)
    (code / "tasks.py").write_text(SOURCE.format(folder=str(gate), version=process))
    with deploying(live_stack, key, code) as deploy:
        wait_until((gate / "waits").exists, timeout_s=LONG_S, what="the template is being built")
        live_stack.kill(process)
        (gate / "open").touch()
        out, err = deploy.communicate(timeout=LONG_S)
    assert deploy.returncode == 0, err
    done = json.loads(out)
    deployment = live_stack.ask("GET", f"/api/v1/deployments/{done['id']}", key=key)
    assert deployment["status"] == "DEPLOYED"
    assert set(built(live_stack, deployment["imageReference"]).values()) == {1}
    run_id = live_stack.trigger("gated", key=key)
    run = live_stack.wait_run(run_id, key=key, timeout_s=LONG_S)
    assert (run["status"], run["output"]) == ("COMPLETED", process)
