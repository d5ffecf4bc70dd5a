"""The command line: `crossfade deploy | trigger | runs | dev | whoami`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from crossfade.cli.console import CommandFailed, say
from crossfade.cli.environment import read_cli_environment
from crossfade.cli.parser import parse
from crossfade.client.errors import ApiError, ConnectionFailed
from crossfade.errors import CrossfadeError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from crossfade.cli.environment import CliEnvironment

_INTERRUPTED = 130
_UNKNOWN_KEY = 401
_UNKNOWN_THING = 404
_UNREAD = 141  # as a shell reports a program whose reader went away


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. 0: done; 1: it failed, or the run it waited for did; 2: bad usage."""
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    environment = read_cli_environment(os.environ)  # noqa: TID251 - the edge of this process
    try:
        return _run(parsed, environment)
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNREAD
    except KeyboardInterrupt:
        say("error", "interrupted")
        return _INTERRUPTED


def _told(error: ApiError, environment: CliEnvironment) -> str:
    text = f"{error.request}: {error}" if error.request else str(error)
    if error.status == _UNKNOWN_KEY:
        return f"{text}; {environment.api_url} does not know this key"
    if error.status == _UNKNOWN_THING:
        return f"{text}; `crossfade whoami` says which environment was asked"
    return text


def _run(parsed: Namespace, environment: CliEnvironment) -> int:
    """Run a parsed command; what is expected to go wrong becomes a sentence."""
    try:
        code: int = parsed.command(parsed, environment)
    except CommandFailed as error:
        say("error", str(error))
        return error.code
    except ConnectionFailed as error:
        say("error", f"nobody answers at {environment.api_url} ({error})")
        say(
            "error", "is the stack running? `make run` starts it; TRIGGER_API_URL names another one"
        )
        return 1
    except ApiError as error:
        say("error", _told(error, environment))
        return 1
    except CrossfadeError as error:
        say("error", str(error))
        return 1
    return code
