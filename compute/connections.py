"""Connection pools for calls to other processes of the system."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CONNECTIONS = 200
MAX_IDLE_CONNECTIONS = 20


def make_http_client(base_url: str) -> httpx.AsyncClient:
    """Give a connection pool for a server; certificates are loaded only for TLS.

    Nothing is taken from the environment (no proxies), and redirects are not followed.
    """
    secure = base_url.startswith("https:")
    context = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    limits = httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS
    )
    return httpx.AsyncClient(base_url=base_url, verify=context, limits=limits, trust_env=False)


def stream_artifact(http: httpx.AsyncClient, image: str, headers: Mapping[str, str]) -> Any:
    """Open the download of a deployment's code; an async context manager of a response."""
    path = f"/engine/v1/artifacts/{quote(image, safe='')}"
    timeout = httpx.Timeout(30.0, connect=5.0)
    return http.stream("GET", path, headers=dict(headers), timeout=timeout)
