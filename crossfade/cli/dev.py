"""`crossfade dev PATH`: run a development environment's tasks on this machine."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from crossfade.cli.console import CommandFailed, say
from crossfade.cli.dev_runs import DevRuns, RunnerPlace
from crossfade.cli.dev_versions import DevVersions
from crossfade.client.errors import ApiError, ConnectionFailed
from crossfade.errors import CrossfadeError

if TYPE_CHECKING:
    import argparse

    from crossfade.cli.environment import CliEnvironment
    from crossfade.client.api import Client

_LOOK_S = 0.5
_LONGEST_POLL_S = 60.0
_LONGEST_WAIT_S = 10.0
_DRAIN_S = 15.0


def dev(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Register the tasks, then lease and execute runs until Ctrl-C; reload when a file changes."""
    if parsed.concurrency < 1:
        raise CommandFailed("--concurrency is at least 1", code=2)
    with environment.dev_client() as client, tempfile.TemporaryDirectory() as folder:
        project_ref = _project_ref(client)
        versions = DevVersions(client, project_ref, parsed.path, Path(folder))
        versions.register()
        place = RunnerPlace(
            api_url=environment.api_url,
            authorization=f"Bearer {environment.dev_secret_key}",
            inherited=dict(os.environ),  # noqa: TID251 - a task reads the author's own environment
        )
        runs = DevRuns(client, place, concurrency=parsed.concurrency)
        stop = threading.Event()
        leasing = threading.Thread(target=_lease, args=(client, runs, versions, stop), daemon=True)
        leasing.start()
        say("dev", "waiting for runs; Ctrl-C ends")
        try:
            while True:
                runs.reap()
                _reload_if_changed(versions)
                stop.wait(_LOOK_S)
        except KeyboardInterrupt:
            stop.set()
            _end(runs)
    return 0


def _project_ref(client: Client) -> str:
    whoami = client.whoami()
    kind = whoami.get("type")
    if kind not in {None, "DEVELOPMENT"}:
        raise CommandFailed(f"the key is of a {kind} environment; dev takes development keys only")
    return str(whoami["project"]["ref"])


def _reload_if_changed(versions: DevVersions) -> None:
    if not versions.has_changed():
        return
    try:
        versions.register()
    except CrossfadeError as error:
        say("dev", f"not reloaded, the earlier version stays:\n{error}")


def _lease(client: Client, runs: DevRuns, versions: DevVersions, stop: threading.Event) -> None:
    wait_s = 1.0
    while not stop.is_set():
        if not runs.wait_for_room(_LOOK_S):
            continue
        try:
            messages = client.transport.call_list(
                "POST", "/engine/v1/dev/dequeue", body={}, timeout_s=_LONGEST_POLL_S
            )
        except (ApiError, ConnectionFailed) as error:
            say("dev", f"no runs can be leased: {error}; trying again in {wait_s:g} s")
            stop.wait(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            continue
        wait_s = 1.0
        for message in messages:
            runs.start(message, versions.folder_for(message))
        if not messages:
            stop.wait(0.05)  # a server that does not hold the poll must not be hammered


def _end(runs: DevRuns) -> None:
    try:
        if runs.count():
            say("dev", f"cancelling what executes ({runs.count()}); Ctrl-C again ends at once")
            runs.cancel_all()
            runs.wait_until_none(_DRAIN_S)
    except KeyboardInterrupt:
        say("dev", "ending at once")
    finally:
        runs.kill_all()
