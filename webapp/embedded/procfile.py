"""Read a Procfile: one `name: command` a line. Pure."""

from __future__ import annotations

import re
import shlex
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LINE = re.compile(r"^([a-z][a-z0-9-]*):\s*(\S.*)$")


class InvalidProcfile(Exception):
    """A line cannot be read; the message has its number."""


def read_procfile(text: str) -> dict[str, str]:
    """Give the commands by process name, in the order of the file."""
    commands: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = LINE.match(stripped)
        if match is None:
            raise InvalidProcfile(f"line {number} is not `name: command`")
        name, command = match.groups()
        if name in commands:
            raise InvalidProcfile(f"line {number} names {name} again")
        commands[name] = command
    return commands


def arguments_of(command: str, *, python: str, variables: Mapping[str, str]) -> list[str]:
    """Give the argument list of a command, with `$NAME` filled in; no shell is involved.

    A command starts with `python`, which stands for the interpreter that runs the stack.
    """
    words = shlex.split(command)
    if words[0] != "python":
        raise InvalidProcfile(f"{command!r} does not start with python")
    try:
        return [python, *(Template(word).substitute(variables) for word in words[1:])]
    except KeyError as error:
        raise InvalidProcfile(f"{command!r} names {error}, which is not set") from error
