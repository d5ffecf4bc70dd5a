"""Everything a task writes becomes log lines: print, logging, child processes, C libraries.

`sys.stdout` and `sys.stderr` are replaced, so that lines keep their order with those of `logging`;
the file descriptors below them lead into pipes, for whatever does not go through Python.
"""

from __future__ import annotations

import io
import logging
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from typing import BinaryIO

    from crossfade.runner.interrupt import Interrupter
    from crossfade.runner.log_lines import LogLines, Stream

_LONGEST_PENDING = 65_536 * 4  # bytes: enough for the longest line that is kept, in UTF-8


class Capture:
    """The process's output. `lines` is where it goes; None: back to the supervisor's log."""

    def __init__(self, interrupter: Interrupter) -> None:
        self.console: TextIO = os.fdopen(os.dup(2), "w", buffering=1, errors="replace")
        self._interrupter = interrupter
        self._lines: LogLines | None = None
        self._pipes: dict[int, _Splitter] = {}
        self._pipes_lock = threading.Lock()
        self._splitters: list[_Splitter] = []

    def install(self) -> None:
        """Take over the output of this process. Call once, in the main thread."""
        self._lead_away(1, "stdout")
        self._lead_away(2, "stderr")
        handler = _LineHandler(self)
        logging.lastResort = handler
        logging.getLogger().setLevel(logging.INFO)
        task_logger = logging.getLogger("crossfade.task")
        task_logger.addHandler(handler)
        task_logger.propagate = False
        os.register_at_fork(after_in_child=self._be_an_ordinary_child)
        threading.Thread(target=self._pump, name="crossfade-output", daemon=True).start()

    def attach(self, lines: LogLines) -> None:
        """Begin an attempt: from here on all output becomes its lines."""
        self._lines = lines
        # Made anew each time: a task may have closed or replaced the ones of the last attempt.
        out, err = (_Splitter(self, name, self._interrupter) for name in ("stdout", "stderr"))
        self._splitters = [out, err]
        sys.stdout, sys.stderr = _text_over(_Captured(1, out)), _text_over(_Captured(2, err))

    def write(self, stream: Stream, text: str, level: str | None = None) -> None:
        """Take one line of the task, or of nobody when no attempt runs."""
        lines = self._lines
        if lines is not None:
            lines.add(stream, text, level)
        else:
            self.console.write(f"{text}\n")

    def detach(self) -> None:
        """End the attempt's output: what is half written or still in a pipe becomes lines."""
        for splitter in self._splitters:
            splitter.finish()
        for number, splitter in self._pipes.items():
            self._drain(number)
            splitter.finish()
        self._lines = None

    def give_back(self) -> None:
        """Let the process's output go where it went before `install`."""
        for number in (1, 2):
            os.dup2(self.console.fileno(), number)

    def _lead_away(self, number: int, stream: Stream) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.dup2(writer, number)
        os.close(writer)
        self._pipes[reader] = _Splitter(self, stream, self._interrupter)

    def _be_an_ordinary_child(self) -> None:
        # A forked child (multiprocessing) has a copy of our lines that nobody sends, and our
        # handlers: its output takes the pipe, and it may be terminated.
        self._lines = None
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, errors="backslashreplace")
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        self.console = sys.stderr
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def _pump(self) -> None:
        poller = select.poll()
        for number in self._pipes:
            poller.register(number, select.POLLIN)
        while True:
            for number, _event in poller.poll():
                self._drain(number)

    def _drain(self, number: int) -> None:
        with self._pipes_lock:
            while True:
                try:
                    data = os.read(number, 65_536)
                except BlockingIOError:
                    return
                if not data:
                    return
                self._pipes[number].feed(data)


class _Splitter:
    """Bytes in, lines out. Of a line without end only the beginning is kept."""

    def __init__(self, capture: Capture, stream: Stream, interrupter: Interrupter) -> None:
        self._capture = capture
        self._stream = stream
        self._interrupter = interrupter
        self._lock = threading.Lock()
        self._parts: list[bytes] = []  # of the line that has no end yet
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they were written."""
        self._interrupter.enter()
        try:
            with self._lock:
                *ends, rest = data.split(b"\n")
                for end in ends:
                    self._keep(end)
                    self._end_line()
                self._keep(rest)
        finally:
            self._interrupter.leave()

    def finish(self) -> None:
        """Emit what has no newline yet."""
        self._interrupter.enter()
        try:
            with self._lock:
                if self._length:
                    self._end_line()
        finally:
            self._interrupter.leave()

    def _keep(self, part: bytes) -> None:
        if part and self._length <= _LONGEST_PENDING:
            self._parts.append(part)
        self._length += len(part)

    def _end_line(self) -> None:
        line = b"".join(self._parts).removesuffix(b"\r")
        self._parts, self._length = [], 0
        self._capture.write(self._stream, line.decode("utf-8", "replace"))


class _Captured(io.RawIOBase):
    """What `sys.stdout.buffer` is while a task runs."""

    def __init__(self, number: int, splitter: _Splitter) -> None:
        super().__init__()
        self._number = number
        self.splitter = splitter

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        taken = bytes(data)
        self.splitter.feed(taken)
        return len(taken)


class _LineHandler(logging.Handler):
    """Log records as lines with their level. Used where the task's code configured nothing."""

    def __init__(self, capture: Capture) -> None:
        super().__init__(level=logging.DEBUG)
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        for text in self.format(record).splitlines() or [""]:
            self._capture.write("log", text, record.levelname)


def _text_over(raw: _Captured) -> TextIO:
    # Straight over the raw stream, without a buffer: nothing is kept back when the task is killed.
    return io.TextIOWrapper(
        cast("BinaryIO", raw),
        encoding="utf-8",
        errors="backslashreplace",
        newline="\n",
        write_through=True,
    )
