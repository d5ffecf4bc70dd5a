"""What a running stack writes into its logs: never a secret, never what customers' runs carry."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import httpx

from tests.live import GATEWAY, SUPERVISOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live import LiveStack

MARKER = "pay10ad-mark3r-6f1c"
WRONG = "tr_prod_" + "Q7" * 20
LEAST_CHARS = 12  # shorter values are names and numbers
NO_SECRETS = {"CROSSFADE_USER", "TRIGGER_API_URL", "CROSSFADE_GATEWAY_URL",
              "CROSSFADE_SUPERVISOR_URL", "PATH"}  # fmt: skip


def secrets_of(stack: LiveStack) -> set[str]:
    """Give every secret the stack knows: its own, the demo world's, and what dev.env hands out."""
    found = set(_texts(json.loads((stack.state / "secrets.json").read_text())))
    found |= set(_texts(dict(stack.demo)))
    for line in (stack.state / "dev.env").read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if line.startswith("export ") and name not in NO_SECRETS:
            found |= set(shlex.split(value))
    passwords = {httpx.URL(one).password for one in found if "://" in one}
    kept = {one for one in found | passwords if len(one) >= LEAST_CHARS}
    return kept - {str(stack.demo["CROSSFADE_USER"]), _stack_id(stack)}


def _stack_id(stack: LiveStack) -> str:
    """Give the name of the folder of the servers' data, which is no secret."""
    return str(json.loads((stack.state / "secrets.json").read_text())["stack_id"])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def use_everything(stack: LiveStack) -> None:
    """Let the marker and the secrets pass through every process, also where something fails."""
    runs = [
        stack.trigger("hello-world", {"name": MARKER}, metadata={"note": MARKER}, tags=[MARKER]),
        stack.trigger("hello-world", {"nobody": MARKER}),  # it fails with a KeyError
        stack.trigger("chaos-append", {"file": f"/nowhere/{MARKER}", "token": MARKER}),
    ]
    for run_id in runs:
        stack.wait_run(run_id)
    refused = [
        stack.call("POST", "/api/v1/tasks/hello-world/trigger", MARKER),
        stack.call("GET", f"/api/v1/runs?filter[status]={MARKER}"),
        stack.call("GET", "/api/v1/runs", key=WRONG),
        stack.call("GET", "/admin/api/v1/orgs", key=f"tr_pat_{WRONG}"),
        httpx.post(f"{stack.url}/login", data={"email": MARKER, "password": MARKER}, timeout=30),
        httpx.get(f"{stack.gateway_url}/api/instances/{MARKER}", timeout=30),
        httpx.get(
            f"{stack.gateway_url}/api/instances",
            headers={"authorization": f"Bearer {WRONG}"},
            timeout=30,
        ),
    ]
    assert {answer.status_code // 100 for answer in refused} == {4}
    for process in ("web", SUPERVISOR, GATEWAY):
        stack.kill(process)


def test_no_log_line_holds_a_secret_or_a_payload(live_stack: LiveStack) -> None:
    """After runs, failures, refusals and deaths, every log of every process is searched."""
    use_everything(live_stack)
    secrets = secrets_of(live_stack)
    assert len(secrets) > 12
    written = {path.name: path.read_text(errors="replace") for path in live_stack.log_files()}
    found = {
        (file, secret[:9])
        for file, text in written.items()
        for secret in {*secrets, MARKER, WRONG}
        if secret in text
    }
    assert {"web.log", f"{SUPERVISOR}.log", f"{GATEWAY}.log"} <= set(written)
    assert found == set()
