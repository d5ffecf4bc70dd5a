"""Tiny programs for the tests of the process runner."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from webapp.embedded.programs import Program
from webapp.embedded.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

STAY = "import signal, sys; print('up', flush=True); signal.pause()"
TURN_S = 20.0


def python_program(name: str, code: str, folder: Path, **extra: object) -> Program:
    """Give a program that runs a piece of Python, with a small environment."""
    return Program(
        name=name,
        command=(sys.executable, "-I", "-S", "-c", code),
        folder=folder,
        environment={"PATH": os.environ["PATH"]},  # noqa: TID251 - handed on to the program
        **extra,  # type: ignore[arg-type]
    )


@contextmanager
def running(folder: Path) -> Generator[tuple[Runner, list[tuple[str, str]]], None, None]:
    """Give a runner and what it said; everything is stopped in the end."""
    said: list[tuple[str, str]] = []
    for name in ("run", "log"):
        (folder / name).mkdir()
    runner = Runner(folder / "run", folder / "log", lambda name, what: said.append((name, what)))
    with runner.listening():
        try:
            yield runner, said
        finally:
            runner.stop()


def turn_until(runner: Runner, holds: Callable[[], bool]) -> None:
    """Turn the runner's loop until the condition holds."""
    runner.run_until(holds, timeout_s=TURN_S)


def is_alive(pid: int) -> bool:
    """Say whether a process exists and has not ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "State:\tZ" not in status
