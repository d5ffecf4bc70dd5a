"""The lines one attempt wrote and has not sent yet: numbered, bounded, safe across threads."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossfade.runner.interrupt import Interrupter

Stream = Literal["stdout", "stderr", "log"]

LONGEST_LINE = 65_536  # characters
LINE_CUT = " … (line cut at 64 KiB)"
MOST_LINES = 10_000  # what the platform keeps of a run
MOST_WAITING_CHARACTERS = 4 * 1024 * 1024


class _Line(TypedDict):
    seq: int
    at: float
    stream: Stream
    text: str


class Line(_Line, total=False):
    """One line as it goes over the wire; `at` is epoch milliseconds."""

    level: str


class LogLines:
    """Takes lines from the task and gives them to the sender in batches.

    A task that writes faster than lines can be sent is not held up and does not fill the memory:
    what does not fit is counted, and one line says how many are missing.
    """

    def __init__(self, interrupter: Interrupter, now_ms: Callable[[], float]) -> None:
        self._interrupter = interrupter
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._waiting: deque[Line] = deque()
        self._characters = 0
        self._next = 0
        self._missing = 0
        self.arrived = threading.Event()

    def add(self, stream: Stream, text: str, level: str | None = None) -> None:
        """Take one line, without its newline. Never blocks for longer than a copy takes."""
        clean = text.replace("\x00", "\ufffd")  # a NUL is no text to a database
        if len(clean) > LONGEST_LINE:
            clean = clean[: LONGEST_LINE - len(LINE_CUT)] + LINE_CUT
        self._interrupter.enter()
        try:
            with self._lock:
                full = self._characters + len(clean) > MOST_WAITING_CHARACTERS
                if full or self._next >= MOST_LINES - 1:
                    self._missing += 1
                else:
                    self._say_what_is_missing()
                    self._put(stream, clean, level)
            self.arrived.set()
        finally:
            self._interrupter.leave()

    def take(self, *, most_lines: int, most_characters: int) -> list[Line]:
        """Give the next lines to send, oldest first; at least one if there is one."""
        batch: list[Line] = []
        with self._lock:
            size = 0
            while self._waiting and len(batch) < most_lines:
                size += len(self._waiting[0]["text"])
                if batch and size > most_characters:
                    break
                line = self._waiting.popleft()
                self._characters -= len(line["text"])
                batch.append(line)
            if not self._waiting:
                self.arrived.clear()
        return batch

    def finish(self) -> None:
        """Add the line about missing lines, if any: nothing more will come."""
        with self._lock:
            self._say_what_is_missing()

    def date_now(self) -> None:
        """Give every line that waits the time of now."""
        with self._lock:
            at = self._now_ms()
            for line in self._waiting:
                line["at"] = at

    def _say_what_is_missing(self) -> None:
        if self._missing:
            cut = self._next >= MOST_LINES - 1
            why = f"an attempt keeps {MOST_LINES}" if cut else "written faster than they were sent"
            self._put("log", f"… {self._missing} lines are missing here: {why}", "WARNING")
            self._missing = 0

    def _put(self, stream: Stream, text: str, level: str | None) -> None:
        line: Line = {"seq": self._next, "at": self._now_ms(), "stream": stream, "text": text}
        if level is not None:
            line["level"] = level[:16]
        self._next += 1
        self._characters += len(text)
        self._waiting.append(line)
        self.arrived.set()
