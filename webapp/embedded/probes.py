"""Ask a process of the stack whether it is ready."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 2.0
OK = 200


def answers_ok(url: str) -> bool:
    """Say whether a GET of this address is answered 200 now."""
    return _get(url, {})[0] == OK


def status_of(url: str, key: str) -> int:
    """Give the status of a GET with this key as the bearer, 0 when nothing answers."""
    return _get(url, {"Authorization": f"Bearer {key}"})[0]


def answer_of(url: str) -> str:
    """Give what the address says now, for a person who wants to know why it is not ready."""
    status, body = _get(url, {})
    try:
        text = json.dumps(json.loads(body))
    except ValueError:
        text = body.decode(errors="replace")
    return f"{status} {text[:500]}" if status else "no answer"


def _get(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    parts: Any = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
