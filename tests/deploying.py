"""Deploying over the API as the command line tool does, for the tests that need versions."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from django.test import Client
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

ARCHIVE = b"an archive of code"


def digest_of(data: bytes) -> str:
    """Give the name of an artifact with these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def task(slug: str = "hello-world", **settings: Any) -> dict[str, Any]:
    """Give a task as an author's tool describes it."""
    return {"id": slug, "filePath": "tasks.py", "exportName": slug.replace("-", "_"), **settings}


def metadata(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Give what a version brings; without tasks it is the one of `task()`."""
    return {
        "packageVersion": "1.0.0",
        "contentHash": "hash-1",
        "tasks": list(tasks) or [task()],
        **more,
    }


class Author:
    """Calls the deployment API with one environment's key."""

    def __init__(self, client: Client, key: str) -> None:
        """Take the test client and the key to present."""
        self.client = client
        self.headers = {"authorization": f"Bearer {key}"}

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Send JSON; without a body the request is empty."""
        return self.client.post(
            path,
            data=b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers={**self.headers, **headers},
        )

    def get(self, path: str, **query: Any) -> Answer:
        """Ask for something."""
        return self.client.get(path, query, headers=self.headers)

    def start(self, **body: Any) -> dict[str, Any]:
        """Begin a deployment."""
        answer = self.post("/api/v1/deployments", {"contentHash": "hash-1", **body})
        assert answer.status_code == 200, answer.content
        return dict(answer.json())

    def register(self, deployment_id: str, described: dict[str, Any] | None = None) -> Answer:
        """Register tasks."""
        body = {"localOnly": False, "metadata": described or metadata(), "engine": "V2"}
        return self.post(f"/api/v1/deployments/{deployment_id}/background-workers", body)

    def finalize(self, deployment_id: str, **body: Any) -> Answer:
        """Complete a deployment."""
        return self.post(f"/api/v2/deployments/{deployment_id}/finalize", body)

    def deploy(self, described: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
        """Bring a version out and give the answer to its beginning."""
        started = self.start(**body)
        assert self.register(started["id"], described).status_code == 200
        answer = self.finalize(started["id"])
        assert answer.status_code == 200, answer.content
        return started

    def announce(self, data: bytes = ARCHIVE, **body: Any) -> Answer:
        """Announce an artifact of these bytes."""
        announced = {"digest": digest_of(data), "size": len(data), **body}
        return self.post("/api/v1/artifacts", announced)

    def send(self, url: str, data: bytes = ARCHIVE) -> Answer:
        """Send the bytes of an artifact to its URL, which is all the credential it needs."""
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}"
        return self.client.put(path, data=data, content_type="application/octet-stream")

    def upload(self, data: bytes = ARCHIVE) -> str:
        """Bring an artifact to the platform and give its digest."""
        announced = self.announce(data)
        assert announced.status_code == 200, announced.content
        assert self.send(announced.json()["url"], data).status_code == 204
        return digest_of(data)


def events_in(answer: Any) -> list[tuple[str, Any]]:
    """Read a stream of server-sent events to its end."""
    text = b"".join(answer.streaming_content).decode()
    blocks = [block.splitlines() for block in text.split("\n\n") if block]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
    ]
