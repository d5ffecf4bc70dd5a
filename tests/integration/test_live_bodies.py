"""Bodies as the server of the web process hands them over: in pieces, without a length."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx

from webapp.middleware import TRIGGER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live import LiveStack

TRIGGER = "/api/v1/tasks/unknown/trigger"


def in_chunks(body: bytes) -> Iterator[bytes]:
    """Give a body in pieces, so that it is sent without a length."""
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def test_chunked_bodies_are_read(live_stack: LiveStack) -> None:
    """A body without a length is read whole, and bounded as one with a length."""
    bearer = {"authorization": f"Bearer {live_stack.new_tenant()['prod']}"}
    payload = "ä" * 500_000
    with httpx.Client(base_url=live_stack.url, headers=bearer, timeout=60) as web:
        body = json.dumps({"payload": payload}).encode()
        answer = web.post(TRIGGER, content=in_chunks(body))
        assert answer.status_code == 200, answer.text
        assert web.get(f"/api/v3/runs/{answer.json()['id']}").json()["payload"] == payload
        empty = web.post(TRIGGER, content=in_chunks(b""))
        assert (empty.status_code, empty.json()["error"]) == (400, "Request body is empty")
        too_large = b" " * (TRIGGER_BYTES + 1)
        for content in (in_chunks(too_large), too_large):
            large = web.post(TRIGGER, content=content)
            assert (large.status_code, set(large.json())) == (413, {"error"})
        assert "Request body too large" in large.json()["error"]
