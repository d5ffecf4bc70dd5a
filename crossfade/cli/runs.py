"""`crossfade runs list | get | cancel | replay | logs`."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from crossfade.cli.console import give

if TYPE_CHECKING:
    import argparse

    from crossfade.cli.environment import CliEnvironment


def list_runs(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Print `{"data": [...]}`, newest first."""
    with environment.client() as client:
        found = client.list(
            status=parsed.status,
            task_id=parsed.task,
            tag=parsed.tag,
            region=parsed.region,
            queue=parsed.queue,
            version=parsed.version,
            page_size=parsed.limit,
        )
        give({"data": [run.wire for run in islice(found, max(0, parsed.limit))]})
    return 0


def get_run(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Print a run."""
    with environment.client() as client:
        give(client.retrieve(parsed.run).wire)
    return 0


def cancel_run(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Cancel a run and print its id."""
    with environment.client() as client:
        give({"id": client.cancel(parsed.run)})
    return 0


def replay_run(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Replay a run and print the new one's id."""
    with environment.client() as client:
        overrides = {} if parsed.region is None else {"region": parsed.region}
        give({"id": client.replay(parsed.run, **overrides)})
    return 0


def logs_run(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Print what a run wrote: its text, or with --json one object a line."""
    with environment.client() as client:
        for line in client.logs(parsed.run, attempt=parsed.attempt):
            print(json.dumps(line, ensure_ascii=False) if parsed.json else line.get("text", ""))
    return 0
