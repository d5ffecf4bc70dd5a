"""Batches over HTTP as clients of the protocol send them: announced, then streamed as lines."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator

from bench.waiting import Unmeasurable
from webapp.embedded.ports import LOOPBACK

RUNS = 1000  # of one batch, the most that may be announced
PRODUCERS = 4
SENT_BYTES = 64 * 1024
TIMEOUT_S = 30.0
ACCEPTED, OK = 202, 200


def batch_items(task: str, payload: object) -> bytes:
    """Give the lines of one batch; they are the same for all, only their batch differs."""
    text = json.dumps({"json": payload})
    options = {"payloadType": "application/super+json", "payloadSize": len(text)}
    return b"".join(
        json.dumps(
            {"index": index, "task": task, "payload": text, "options": options},
            separators=(",", ":"),
        ).encode()
        + b"\n"
        for index in range(RUNS)
    )


def batch_rate(port: int, *, key: str, items: bytes, for_s: float) -> float:
    """Give how many runs a second several producers make, each batch after batch.

    Raise `Unmeasurable` when a batch is refused or not sealed.
    """
    return rate_of(lambda: _Producer(port, key, items).send, RUNS, producers=PRODUCERS, for_s=for_s)


def rate_of(
    make: Callable[[], Callable[[], object]], each: int, *, producers: int, for_s: float
) -> float:
    """Give the rate at which so many threads do something that counts for `each`.

    Whoever has begun when the time is over ends what it does, and the time counts until then.
    """
    counts: list[int] = []
    failures: list[Exception] = []
    start = time.perf_counter()

    def produce() -> None:
        try:
            act, made = make(), 0
            while time.perf_counter() < start + for_s:
                act()
                made += each
            counts.append(made)
        except (Unmeasurable, OSError, http.client.HTTPException) as failure:
            failures.append(failure)

    crew = [threading.Thread(target=produce) for _ in range(producers)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if failures:
        raise Unmeasurable(f"a batch failed: {failures[0]}") from failures[0]
    return sum(counts) / (time.perf_counter() - start)


class _Producer:
    """One connection that sends batch after batch."""

    def __init__(self, port: int, key: str, items: bytes) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
        self._bearer = f"Bearer {key}"
        self._items = items

    def send(self) -> None:
        announced = json.dumps({"runCount": RUNS}).encode()
        batch = self._post("/api/v3/batches", announced, "application/json", ACCEPTED)
        path = f"/api/v3/batches/{batch['id']}/items"
        answer = self._post(path, self._pieces(), "application/x-ndjson", OK)
        if not answer["sealed"] or answer["itemsAccepted"] != RUNS:
            raise Unmeasurable(f"a batch was not taken whole: {answer}")

    def _pieces(self) -> Iterator[bytes]:
        for start in range(0, len(self._items), SENT_BYTES):
            yield self._items[start : start + SENT_BYTES]

    def _post(
        self, path: str, body: bytes | Iterator[bytes], kind: str, status: int
    ) -> dict[str, object]:
        headers = {"authorization": self._bearer, "content-type": kind}
        is_chunked = not isinstance(body, bytes)
        if is_chunked:
            headers["transfer-encoding"] = "chunked"
        self._connection.request("POST", path, body, headers, encode_chunked=is_chunked)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != status:
            raise Unmeasurable(f"{path} answered {answer.status}: {text[:500]!r}")
        return dict(json.loads(text))
