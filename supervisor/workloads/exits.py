"""What the end of a process means for its run. Pure."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from runs.contracts import InternalError

if TYPE_CHECKING:
    from compute.processes.values import Exited

MAX_MESSAGE = 2000
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


def describe_exit(exited: Exited) -> str:
    """Give one sentence for people, with the process's last words."""
    if exited.signal is not None:
        text = f"the task process was killed by {signal.Signals(exited.signal).name}"
    elif exited.exit_code is None:
        text = "the instance that executed the run is gone"
    else:
        text = f"the task process exited with code {exited.exit_code}"
    if exited.out_of_memory:
        text += " after reaching its memory limit"
    words = exited.last_words[-MAX_MESSAGE:]
    return f"{text}: {words}" if words else text


def error_for_exit(exited: Exited) -> InternalError:
    """Give the error of an attempt whose process ended before completing it."""
    return InternalError(code=_code(exited), message=describe_exit(exited))


def _code(exited: Exited) -> str:
    if exited.out_of_memory:
        return "TASK_PROCESS_OOM_KILLED"
    if exited.signal in CRASHES:
        return "TASK_PROCESS_SIGSEGV"
    if exited.signal == signal.SIGTERM or (exited.signal is None and exited.exit_code is None):
        return "TASK_PROCESS_SIGTERM"
    return "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
