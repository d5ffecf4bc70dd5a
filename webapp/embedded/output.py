"""What processes write, as JSON lines in `var/log/<process>.log`.

A line that is a JSON object already is kept as it is; any other is wrapped, and what looks like a
credential in it is hidden. A file that has grown to its bound is set aside under a number.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from webapp.redaction import redact_text

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_LINE = 65_536  # bytes; the rest of a longer line follows as a line of its own
MAX_BYTES = 10_000_000
KEPT_FILES = 3


def json_line(process: str, text: str, at: datetime) -> str:
    """Give the line as one JSON object. Pure."""
    if text.startswith("{"):
        try:
            json.loads(text)
        except ValueError:
            pass
        else:
            return text
    line = {
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "process": process,
        "event": "output",
        "text": redact_text(text),
    }
    return json.dumps(line, ensure_ascii=False)


class LogFile:
    """The log of one process: takes raw bytes as they come, and writes whole lines."""

    def __init__(
        self, path: Path, process: str, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES
    ) -> None:
        """Open the file at its end."""
        self._path = path
        self._process = process
        self._max_bytes = max_bytes
        self._kept = kept
        self._rest = b""
        self._file = path.open("ab")
        self._size = self._file.tell()

    def feed(self, data: bytes) -> None:
        """Take what the process wrote; an unfinished line waits for its end."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._rest = rest
        self._write(lines)

    def finish(self) -> None:
        """Write the unfinished line: the process that began it is gone."""
        self._write([self._rest])
        self._rest = b""

    def close(self) -> None:
        """Write what is left and close the file."""
        self.finish()
        self._file.close()

    def _write(self, lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode("utf-8", errors="replace").strip("\r")
            if text.strip():
                data = json_line(self._process, text, datetime.now(tz=UTC)).encode() + b"\n"
                self._file.write(data)
                self._size += len(data)
        self._file.flush()
        if self._size >= self._max_bytes:
            self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._kept, 1, -1):
            older = self._path.with_name(f"{self._path.name}.{number - 1}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._file = self._path.open("ab")
        self._size = 0
