"""Sends an attempt's lines while it runs, and the rest when it ends. One daemon thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TextIO

from crossfade.runner.platform import Platform, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossfade.runner.log_lines import Line, LogLines

_MOST_LINES = 500  # the platform takes 1,000 a batch
_MOST_CHARACTERS = 262_144
_GATHER_S = 0.2
_LONGEST_WAIT_S = 5.0


class LogSender:
    """One attempt's sender. Lines that are refused are given up; an outage is waited out."""

    def __init__(
        self,
        platform: Platform,
        attempt: int,
        lines: LogLines,
        *,
        echo: TextIO | None,
        report: Callable[[str], None],
    ) -> None:
        self._platform = platform
        self._attempt = attempt
        self._lines = lines
        self._echo = echo
        self._report = report
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._give_up_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="crossfade-logs", daemon=True)
        self._thread.start()

    def close(self, *, timeout_s: float) -> None:
        """Send what is left, for at most `timeout_s`; what cannot be sent by then is lost."""
        self._lines.finish()
        self._give_up_at = time.monotonic() + timeout_s
        self._closing.set()
        self._lines.arrived.set()
        self._thread.join(timeout_s + 1)
        self._given_up.set()

    def _work(self) -> None:
        while True:
            if not self._closing.is_set():
                self._lines.arrived.wait()
                self._closing.wait(_GATHER_S)
            batch = self._lines.take(most_lines=_MOST_LINES, most_characters=_MOST_CHARACTERS)
            if batch:
                self._show(batch)
                self._send(batch)
            elif self._closing.is_set():
                return

    def _send(self, batch: list[Line]) -> None:
        wait_s = 0.25
        while True:
            try:
                self._platform.send_logs(self._attempt, [{**line} for line in batch])
            except Refused as refused:
                self._report(f"{len(batch)} log lines refused: {refused}")
                return
            except Unreachable:
                if self._give_up_at is not None and time.monotonic() + wait_s > self._give_up_at:
                    self._report(f"{len(batch)} log lines lost: nobody took them in time")
                    return
                # Once closing, waits are real: an event that is set would make this a busy loop.
                (self._given_up if self._closing.is_set() else self._closing).wait(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                return

    def _show(self, batch: list[Line]) -> None:
        if self._echo is not None:
            self._echo.writelines(f"{line['text']}\n" for line in batch)
            self._echo.flush()
