"""One HTTP request over one connection, with one deadline for all of it.

The standard `http.client` loads TLS and the e-mail parser: 6 MB and 15 ms in every workload that
talks to a supervisor over plain HTTP. This speaks the part of HTTP/1.1 a runner needs and loads
TLS only for https.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_LARGEST_HEAD = 65_536
_LARGEST_BODY = 64 * 1024 * 1024


class BadAnswer(OSError):
    """What came back is not HTTP, or is cut; as good as no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers with lowercase names, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


def send_request(
    method: str, url: str, headers: dict[str, str], body: bytes, *, timeout_s: float
) -> Answer:
    """Send one request and read its whole answer.

    **Args** `timeout_s` bounds connecting, sending and reading together.
    **Raises** OSError (TimeoutError among them) when no whole answer came.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {
        "host": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "connection": "close",
        "accept": "application/json",
        "content-length": str(len(body)),
        **({"content-type": "application/json"} if body else {}),
        **headers,
    }
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in sent.items())
    with _Connection(parts.scheme, host, port, time.monotonic() + timeout_s) as connection:
        connection.send(head.encode("latin-1") + b"\r\n" + body)
        return connection.read_answer()


class _Connection:
    def __init__(self, scheme: str, host: str, port: int, deadline: float) -> None:
        self._deadline = deadline
        self._pending = b""
        raw = socket.create_connection((host, port), timeout=self._left())
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: socket.socket = raw
        if scheme == "https":
            import ssl  # noqa: PLC0415 - loaded only by runners that need it

            try:
                self._socket = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
            except OSError:
                raw.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.settimeout(self._left())
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a large body answers and closes before it has read it all:
            # its answer says more than our broken pipe.
            return

    def read_answer(self) -> Answer:
        while True:
            status, headers = self._read_head()
            if status >= 200:  # noqa: PLR2004 - 1xx are announcements, the answer follows
                return Answer(status, headers, self._read_body(status, headers))

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._pending:
            if len(self._pending) > _LARGEST_HEAD or not self._receive():
                raise BadAnswer("the connection closed before an answer came")
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():  # noqa: PLR2004
            raise BadAnswer(f"the answer is not HTTP: {first[:80]!r}")
        pairs = (line.partition(":") for line in lines)
        return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _read_body(self, status: int, headers: dict[str, str]) -> bytes:
        if status in {204, 304}:
            return b""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = headers.get("content-length")
        if length is not None:
            if not length.isdecimal():
                raise BadAnswer(f"the answer's length is {length[:40]!r}")
            return self._read_exactly(int(length))
        while self._receive():
            pass
        return self._pending

    def _read_chunks(self) -> bytes:
        chunks: list[bytes] = []
        total = 0
        while True:
            size_text = self._read_line().partition(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError as error:
                raise BadAnswer("the answer's chunks are broken") from error
            if size == 0:
                return b"".join(chunks)
            total += size
            if total > _LARGEST_BODY:
                raise BadAnswer("the answer is too large")
            chunks.append(self._read_exactly(size))
            self._read_exactly(2)

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._pending:
            if len(self._pending) > _LARGEST_HEAD or not self._receive():
                raise BadAnswer("the answer was cut")
        line, _, self._pending = self._pending.partition(b"\r\n")
        return line

    def _read_exactly(self, size: int) -> bytes:
        if size > _LARGEST_BODY:
            raise BadAnswer("the answer is too large")
        parts = [self._pending]
        have = len(self._pending)
        while have < size:
            self._pending = b""
            if not self._receive():
                raise BadAnswer("the answer was cut")
            parts.append(self._pending)
            have += len(self._pending)
        data = b"".join(parts)
        self._pending = data[size:]
        return data[:size]

    def _receive(self) -> bool:
        """Add what came to `_pending`; False at the end of the connection."""
        self._socket.settimeout(self._left())
        data = self._socket.recv(65_536)
        self._pending += data
        if len(self._pending) > _LARGEST_BODY:
            raise BadAnswer("the answer is too large")
        return bool(data)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer came in time")
        return left
