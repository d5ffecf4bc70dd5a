"""Refuse this process the network for a while, and know what tried to use it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

REFUSED = frozenset(
    {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendmsg",
        "socket.sendto",
    }
)


class NetworkUsed(Exception):
    """Something wanted to reach another address, its own machine included."""


@contextmanager
def without_network() -> Iterator[list[str]]:
    """Refuse every use of the network meanwhile; give the list that each attempt is added to.

    An attempt raises `NetworkUsed` where it is made, which a library may swallow: look at the list.
    """
    attempts: list[str] = []
    watches = _watches()
    watches.append(attempts)
    try:
        yield attempts
    finally:
        watches.remove(attempts)


@cache
def _watches() -> list[list[str]]:
    """Give the lists of those who watch. The hook is installed once and stays: none can go."""
    watches: list[list[str]] = []

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in REFUSED and watches:
            attempt = f"{event} {arguments[1:]}"
            for attempts in watches:
                attempts.append(attempt)
            raise NetworkUsed(attempt)

    sys.addaudithook(refuse)
    return watches
