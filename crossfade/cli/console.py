"""What the command line says: progress on stderr, the result as one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

from crossfade.errors import CrossfadeError


class CommandFailed(CrossfadeError):
    """A command cannot go on; the message is for the person who typed it."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def say(step: str, text: str) -> None:
    """Write a line of progress to stderr."""
    for line in text.splitlines() or [""]:
        print(f"{step:<8}{line}", file=sys.stderr, flush=True)


def give(result: dict[str, Any]) -> None:
    """Write the command's result to stdout."""
    print(json.dumps(result, ensure_ascii=False, indent=2), flush=True)
