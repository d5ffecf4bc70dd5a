"""The steps that open a stack, each shown to the person with the time it took."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

NAME_WIDTH = 22
TAIL_LINES = 15


class StepFailed(Exception):
    """A step of the start-up failed; the message is for the person."""


def say(name: str, what: str) -> None:
    """Tell the person one thing about one process or step."""
    print(f"{name:<{NAME_WIDTH}}{what}", flush=True)


@contextmanager
def step(name: str, done: str) -> Generator[None, None, None]:
    """Say what was done and how long it took, when the block ends well."""
    began = time.monotonic()
    yield
    say(name, f"{done:<28}{time.monotonic() - began:6.1f} s")


def log_tail(path: Path) -> str:
    """Give the last lines of a log file as a person reads them."""
    if not path.exists():
        return ""
    lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(plain_line(line) for line in lines)


def plain_line(line: str) -> str:
    """Give what a process wrote in a line that was wrapped, and any other line as it is. Pure."""
    try:
        wrapped = json.loads(line)
    except ValueError:  # a runner that was killed left half a line
        return line
    return str(wrapped["text"]) if wrapped.get("event") == "output" else line


def migrations_fingerprint(repository: Path) -> str:
    """Give one hash over everything that shapes the database: migrations and their SQL."""
    digest = hashlib.sha256()
    shaping = [*repository.glob("*/migrations/*.py"), *repository.glob("*/sql/*")]
    for path in sorted(path for path in shaping if path.is_file()):
        digest.update(str(path.relative_to(repository)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
