"""What the end of a process means for its run. Pure."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from runs.contracts import InternalError

if TYPE_CHECKING:
    from supervisor.workloads.base import Exited

MEMORY_WORDS = ("MemoryError", "std::bad_alloc", "Cannot allocate memory")
NEAR_LIMIT = 0.95  # of the limit: who was killed this close to it ran out of memory
MAX_MESSAGE = 2000
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


def is_out_of_memory(
    *, clean: bool, killed: bool, peak_rss_bytes: int, limit_bytes: int, last_words: str
) -> bool:
    """Say whether a dead process gives evidence that it reached its memory limit."""
    if clean:
        return False
    last_lines = "\n".join(last_words.splitlines()[-3:])
    said_so = any(word in last_lines for word in MEMORY_WORDS)
    return said_so or (killed and peak_rss_bytes >= limit_bytes * NEAR_LIMIT)


def describe_exit(exited: Exited) -> str:
    """Give one sentence for people, with the process's last words."""
    if exited.signal is not None:
        text = f"the task process was killed by {signal.Signals(exited.signal).name}"
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
    if exited.signal == signal.SIGTERM:
        return "TASK_PROCESS_SIGTERM"
    return "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
