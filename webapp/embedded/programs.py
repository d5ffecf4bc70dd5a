"""What the runner is told about a process: how to start it, and how it is stopped."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from webapp.embedded.accounts import Account


def _nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process of the stack. The first word of `command` is an absolute path."""

    name: str  # names its pid file and its log file
    command: tuple[str, ...]
    folder: Path  # working folder
    environment: Mapping[str, str]
    account: Account | None = None  # None: the caller's own
    stage: int = 0  # higher stages stop earlier; what others need has a low one
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    kill_signal: signal.Signals = signal.SIGKILL  # after the timeout
    before_restart: Callable[[], object] = field(default=_nothing)  # clears what a death left


@dataclass(slots=True)
class Life:
    """One started process of a program."""

    program: Program
    pid: int
    started_at: float  # of a monotonic clock
    output: int  # the file descriptor its output arrives on
    short_lives: int = 0  # deaths in a row soon after the start, before this life
    exit_code: int | None = None  # negative: the signal that ended it
