"""The entitlements service as it is asked: one GET, a deadline for all of it, a bounded answer."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx

from tenants.entitlements.contract import BadAnswer, read_entitlement

if TYPE_CHECKING:
    from tenants.entitlements.contract import Entitlement

MAX_ANSWER_BYTES: Final = 64 * 1024
CONNECT_TIMEOUT_S: Final = 2.0


class ServiceFailed(Exception):
    """No answer that says something: no connection, too late, an error, or unreadable."""


class EntitlementsClient:
    """Asks one service. Safe from several threads."""

    def __init__(self, url: str, *, token: str, timeout_s: float) -> None:
        """Remember whom to ask; nothing is sent yet. `timeout_s` bounds a whole question."""
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            follow_redirects=False,
        )

    def ask(self, organization_id: str) -> Entitlement | None:
        """Give what the service says; None when it does not know the organization (404).

        Raise `ServiceFailed` for everything else.
        """
        path = f"{self._url}/orgs/{quote(organization_id, safe='')}"
        until_s = time.monotonic() + self._timeout_s
        try:
            with self._http.stream("GET", path) as response:
                if response.status_code == HTTPStatus.NOT_FOUND:
                    return None
                if response.status_code != HTTPStatus.OK:
                    raise ServiceFailed(f"it answered {response.status_code}")
                return read_entitlement(_body_of(response, until_s))
        except httpx.HTTPError as error:
            raise ServiceFailed(f"{type(error).__name__}: {error}") from error
        except BadAnswer as error:
            raise ServiceFailed(f"its answer cannot be read: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()


def _body_of(response: httpx.Response, until_s: float) -> bytes:
    """Read a body that may come in drops: neither too much nor for too long."""
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise ServiceFailed(f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > until_s:
            raise ServiceFailed("its answer took too long")
    return bytes(body)
