"""The commands and their options. Each command's module is loaded when it is called."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossfade.cli.environment import CliEnvironment

_ENVIRONMENT = (
    "TRIGGER_API_URL and TRIGGER_SECRET_KEY say where the platform is and which environment "
    "is meant; `crossfade dev` takes TRIGGER_DEV_SECRET_KEY."
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Give the parsed arguments; `command` is the function to call with them."""
    parser = argparse.ArgumentParser(
        prog="crossfade", description="Deploy, trigger and follow tasks.", epilog=_ENVIRONMENT
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and end")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_deploy(commands)
    _add_trigger(commands)
    _add_runs(commands)
    _add_dev(commands)
    _add_whoami(commands)
    return parser.parse_args(arguments)


class _Version(argparse.Action):
    """Print the installed version; it is looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it and end."""
        version: str = import_module("crossfade.cli.indexing").package_version()
        print(f"crossfade {version}")
        parser.exit()


def _id(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def _status(text: str) -> str:
    """Give a status as the wire has it, whichever way it was typed."""
    return text.upper().replace("-", "_")


def _command(module: str, function: str) -> Callable[[argparse.Namespace, CliEnvironment], int]:
    def call(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
        code: int = getattr(import_module(f"crossfade.cli.{module}"), function)(parsed, environment)
        return code

    return call


def _add_deploy(commands: Any) -> None:
    deploy = commands.add_parser("deploy", help="make a new version of the tasks in a path")
    deploy.add_argument("path", type=Path, help="a Python file, a package, or a folder of modules")
    deploy.set_defaults(command=_command("deploy", "deploy"))


def _add_trigger(commands: Any) -> None:
    trigger = commands.add_parser("trigger", help="trigger a run of a task")
    trigger.add_argument("task", type=_id, help="the task's id")
    payload = trigger.add_mutually_exclusive_group()
    payload.add_argument("--payload", metavar="JSON", help="the payload")
    payload.add_argument("--payload-file", type=Path, help="a file with it; - reads stdin")
    trigger.add_argument("--wait", action="store_true", help="wait, and print the finished run")
    trigger.add_argument("--timeout", type=float, metavar="S", help="wait no longer than S seconds")
    trigger.add_argument("--region", help="where it should run")
    trigger.add_argument("--idempotency-key", help="trigger once for this key")
    trigger.add_argument("--delay", help="when to begin: 10m, or an ISO date")
    trigger.add_argument("--ttl", help="expire if not begun within: 10m")
    trigger.add_argument("--tag", action="append", default=[], help="a tag; may be given again")
    trigger.add_argument("--queue", help="wait in this queue")
    trigger.add_argument("--concurrency-key", help="wait in this key's own line of the queue")
    trigger.add_argument("--machine", help="a machine preset, such as small-1x")
    trigger.add_argument("--priority", type=float, metavar="S", help="count as S seconds older")
    trigger.add_argument("--max-attempts", type=int, help="tries, the first included")
    trigger.set_defaults(command=_command("trigger", "trigger"))


def _add_runs(commands: Any) -> None:
    runs = commands.add_parser("runs", help="list, read, cancel and replay runs")
    actions = runs.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list runs, newest first")
    listing.add_argument("--limit", type=int, default=25, help="how many at most (default 25)")
    listing.add_argument(
        "--status", action="append", type=_status, default=[], help="may be given again"
    )
    for name in ("task", "tag", "region", "queue", "version"):
        listing.add_argument(f"--{name}", action="append", default=[], help="may be given again")
    listing.set_defaults(command=_command("runs", "list_runs"))
    for name, text in (
        ("get", "print a run"),
        ("cancel", "cancel a run"),
        ("replay", "trigger a run like it"),
        ("logs", "print what a run wrote"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("run", type=_id, help="the run's id")
        action.set_defaults(command=_command("runs", f"{name}_run"))
    actions.choices["replay"].add_argument("--region", help="where it should run now")
    logs = actions.choices["logs"]
    logs.add_argument("--attempt", type=int, help="only this attempt")
    logs.add_argument("--json", action="store_true", help="one JSON object a line")


def _add_dev(commands: Any) -> None:
    dev = commands.add_parser("dev", help="run a development environment's tasks here")
    dev.add_argument("path", type=Path, help="a Python file, a package, or a folder of modules")
    dev.add_argument("--concurrency", type=int, default=4, help="runs at once (default 4)")
    dev.set_defaults(command=_command("dev", "dev"))


def _add_whoami(commands: Any) -> None:
    whoami = commands.add_parser("whoami", help="print which environment the key opens")
    whoami.set_defaults(command=_command("whoami", "whoami"))
