"""Lines out of a stream of bytes, in bounded memory. Pure but for the reading it is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

READ_BYTES: Final = 64 * 1024
HEAD_BYTES: Final = 64 * 1024


class Line(NamedTuple):
    """One line that is not blank."""

    number: int  # from 1, blank ones counted
    data: bytes  # of a line that is too long, its beginning
    is_too_long: bool


def lines_of(read: Callable[[int], bytes], *, most_bytes: int) -> Iterator[Line]:
    """Give the lines of a stream as they arrive; of one over `most_bytes` only the beginning.

    Rule: a line ends with a line feed or with the stream; blank lines are passed over. No more
    than one line and one piece of the stream are held at a time.

    >>> from io import BytesIO
    >>> [line.data for line in lines_of(BytesIO(b'a' + bytes([10]) + b'bcd').read, most_bytes=2)]
    [b'a', b'bcd']
    """
    number = 1
    held = _Held(most_bytes)
    while piece := read(READ_BYTES):
        first, *others = piece.split(b"\n")
        held.add(first)
        if not others:
            continue
        if line := held.line(number):
            yield line
        for data in others[:-1]:  # most lines begin and end in one piece
            number += 1
            if data and not data.isspace():
                yield _line(number, data, len(data), most_bytes)
        number += 1
        held = _Held(most_bytes, others[-1])
    if line := held.line(number):
        yield line


def _line(number: int, data: bytes, size: int, most_bytes: int) -> Line:
    if size <= most_bytes:
        return Line(number, data, is_too_long=False)
    return Line(number, data[:HEAD_BYTES], is_too_long=True)


class _Held:
    """A line that has not ended."""

    __slots__ = ("_most_bytes", "_parts", "_size")

    def __init__(self, most_bytes: int, beginning: bytes = b"") -> None:
        self._most_bytes = most_bytes
        self._parts = [beginning]
        self._size = len(beginning)

    def add(self, part: bytes) -> None:
        """Hold more of the line; once it is too long, no more than its beginning."""
        self._size += len(part)
        is_head = sum(map(len, self._parts)) < HEAD_BYTES
        if is_head or self._size <= self._most_bytes:
            self._parts.append(part)
        elif len(self._parts) > 1:
            self._parts = [b"".join(self._parts)[:HEAD_BYTES]]

    def line(self, number: int) -> Line | None:
        """Give the line that has ended, None for a blank one."""
        data = b"".join(self._parts)
        if data.isspace() or not data:
            return None
        return _line(number, data, self._size, self._most_bytes)
