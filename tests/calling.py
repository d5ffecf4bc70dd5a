"""Plain requests of the suite: one client for all, since making one takes longer than most calls."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx

TIMEOUT_S = 30.0


def request(method: str, url: str, **options: Any) -> httpx.Response:
    """Send one request on a connection of its own; who is called may be killed at any moment."""
    return _client().request(method, url, **options)


@cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=0))
