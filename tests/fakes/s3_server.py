"""A small object store that speaks S3 over HTTP: objects of one bucket, in memory."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "code"
KEY_ID = "key-of-tests"
PARTIAL = 206


@dataclass
class ObjectStore:
    """What is stored, and what was asked."""

    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)  # of uploads under way
    asked: list[str] = field(default_factory=list)
    refuses: bool = False  # answers every write 503
    url: str = ""

    def list_objects(self, prefix: str) -> bytes:
        """Give the listing of what begins with a prefix."""
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size></Contents>"
            for key, data in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>{rows}"
            "</ListBucketResult>"
        ).encode()

    def begin(self, key: str) -> bytes:
        """Begin an upload in parts."""
        upload_id = f"upload-{len(self.parts) + 1}"
        self.parts[upload_id] = {}
        return (
            f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
            f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        ).encode()

    def complete(self, key: str, upload_id: str) -> bytes:
        """Make an object of the parts."""
        parts = self.parts.pop(upload_id)
        self.objects[key] = b"".join(parts[number] for number in sorted(parts))
        return b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: ObjectStore

    def do_HEAD(self) -> None:
        self._read_object()

    def do_GET(self) -> None:
        self._read_object()

    def do_PUT(self) -> None:
        key, query, body = self._asked()
        if not self._is_known() or self.store.refuses:
            self._answer(503 if self.store.refuses else 403)
        elif "uploadId" in query:
            self.store.parts[query["uploadId"]][int(query["partNumber"])] = body
            self._answer(200, etag=body)
        else:
            self.store.objects[key] = body
            self._answer(200, etag=body)

    def do_POST(self) -> None:
        key, query, _ = self._asked()
        if "uploads" in query:
            self._answer(200, self.store.begin(key))
        else:
            self._answer(200, self.store.complete(key, query["uploadId"]))

    def do_DELETE(self) -> None:
        key, query, _ = self._asked()
        if "uploadId" in query:
            self.store.parts.pop(query["uploadId"], None)
        else:
            self.store.objects.pop(key, None)
        self._answer(204)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return

    def _read_object(self) -> None:
        key, query, _ = self._asked()
        if not self._is_known():
            self._answer(403)
        elif not key:
            self._answer(200, self.store.list_objects(query.get("prefix", "")))
        elif key not in self.store.objects:
            self._answer(404)
        else:
            data = self.store.objects[key]
            begin, _, end = self.headers.get("range", "bytes=0-").partition("=")[2].partition("-")
            piece = data[int(begin) : int(end) + 1 if end else len(data)]
            last = int(begin) + len(piece) - 1
            extent = f"bytes {begin}-{last}/{len(data)}"
            self._answer(
                PARTIAL if "range" in self.headers else 200, piece, etag=data, extent=extent
            )

    def _asked(self) -> tuple[str, dict[str, str], bytes]:
        url = urlsplit(self.path)
        self.store.asked.append(f"{self.command} {url.path}")
        query = {
            name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()
        }
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return unquote(url.path).removeprefix(f"/{BUCKET}").removeprefix("/"), query, body

    def _is_known(self) -> bool:
        return f"Credential={KEY_ID}/" in self.headers.get("authorization", "")

    def _answer(
        self, status: int, body: bytes = b"", *, etag: bytes = b"", extent: str = ""
    ) -> None:
        self.send_response(status)
        if status == PARTIAL:
            self.send_header("content-range", extent)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", f'"{hashlib.md5(etag).hexdigest()}"')
        self.send_header("last-modified", formatdate(usegmt=True))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving_s3(store: ObjectStore) -> Iterator[ObjectStore]:
    """Serve a store on a free loopback port."""
    handler = type("Handler", (_Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
