"""`crossfade trigger TASK`: trigger a run, and wait for it if asked to."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossfade.cli.console import CommandFailed, give, say
from crossfade.errors import CrossfadeError

if TYPE_CHECKING:
    import argparse

    from crossfade.cli.environment import CliEnvironment
    from crossfade.client.api import Client
    from crossfade.client.runs import Run, TriggerOptions

_POLL_S = 0.25
_USAGE = 2


def trigger(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Trigger a run. Gives 1 when it was waited for and did not succeed."""
    payload = read_payload(parsed)
    with environment.client() as client:
        triggered = client.trigger(parsed.task, payload, **_options(parsed))
        say("run", triggered.id + (" (made earlier with this key)" if triggered.is_cached else ""))
        if not environment.is_development:
            _warn_if_unknown(client, parsed.task)
        if not parsed.wait:
            give({"id": triggered.id})
            return 0
        run = _wait(client, triggered.id, parsed.timeout)
        give(run.wire)
        return 0 if run.is_success else 1


def read_payload(parsed: argparse.Namespace) -> Any:
    """Give the payload of the command, or None. **Raises** CommandFailed with the position."""
    text, where = parsed.payload, "--payload"
    if parsed.payload_file is not None:
        where = str(parsed.payload_file)
        text = _read(parsed.payload_file)
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        line = error.doc.splitlines()[error.lineno - 1] if error.doc.strip() else ""
        raise CommandFailed(
            f"{where} is not JSON: {error.msg} at line {error.lineno} column {error.colno}\n"
            f"  {line[:120]}\n  {' ' * min(error.colno - 1, 119)}^",
            code=_USAGE,
        ) from error
    except ValueError as error:
        raise CommandFailed(f"{where} is not JSON: {error}", code=_USAGE) from error


def _read(path: Path) -> str:
    if path == Path("-"):
        return sys.stdin.read()
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--payload-file: {error}", code=_USAGE) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _options(parsed: argparse.Namespace) -> TriggerOptions:
    given = {
        "region": parsed.region,
        "idempotency_key": parsed.idempotency_key,
        "delay": parsed.delay,
        "ttl": parsed.ttl,
        "tags": parsed.tag or None,
        "queue": parsed.queue,
        "concurrency_key": parsed.concurrency_key,
        "machine": parsed.machine,
        "priority": parsed.priority,
        "max_attempts": parsed.max_attempts,
    }
    return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


def _warn_if_unknown(client: Client, task_id: str) -> None:
    try:
        known = client.deployments.current_task_ids()
    except CrossfadeError as error:
        # The run exists; that we could not look up its version must not fail the command.
        say("warning", f"could not look whether the task is deployed: {error}")
        return
    if known is None or task_id not in known:
        say(
            "warning",
            f"no deployed version has the task {task_id!r}: the run waits until one has it",
        )


def _wait(client: Client, run_id: str, timeout_s: float | None) -> Run:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    status = ""
    while True:
        run = client.retrieve(run_id)
        if run.status != status:
            status = run.status
            say("run", f"{run_id} {status}")
        if run.is_completed:
            return run
        if deadline is not None and time.monotonic() > deadline:
            raise CommandFailed(f"run {run_id} is {status} after {timeout_s:g} s; it goes on")
        time.sleep(_POLL_S)
