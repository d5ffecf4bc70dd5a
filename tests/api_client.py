"""A client of the HTTP API as a machine would use it: a bearer, JSON in, JSON out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.test import Client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpResponse


class ApiClient:
    """Sends requests with one credential."""

    def __init__(self, bearer: str | None = None, **headers: str) -> None:
        """Remember the credential and the headers of every request."""
        self._headers = (
            headers if bearer is None else {"authorization": f"Bearer {bearer}", **headers}
        )
        self._client = Client(raise_request_exception=False)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> HttpResponse:
        """Send `body` as JSON, or `raw` as it is."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        response = self._client.generic(
            method,
            path,
            data,
            content_type=content_type,
            headers={**self._headers, **(headers or {})},
        )
        return cast("HttpResponse", response)

    def get(self, path: str) -> HttpResponse:
        """Send a GET."""
        return self.send("GET", path)

    def post(self, path: str, body: object) -> HttpResponse:
        """Send a POST."""
        return self.send("POST", path, body)

    def patch(self, path: str, body: object) -> HttpResponse:
        """Send a PATCH."""
        return self.send("PATCH", path, body)

    def put(self, path: str, body: object) -> HttpResponse:
        """Send a PUT."""
        return self.send("PUT", path, body)


def json_of(response: HttpResponse, status: int = 200) -> Any:
    """Give the JSON of a response that has this status."""
    assert response.status_code == status, response.content[:2000]
    assert response["Content-Type"].startswith("application/json"), response["Content-Type"]
    return strict_json(response.content.decode())


def strict_json(text: str) -> Any:
    """Give the value of a JSON text as other languages read it: without NaN and Infinity."""
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
