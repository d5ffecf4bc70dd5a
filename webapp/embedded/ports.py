"""Which ports the stack uses: the web port, and the rest at a fixed distance from it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Self

LOOPBACK = "127.0.0.1"
DEFAULT_WEB_PORT = 8030
HIGHEST_PORT = 65_535

POSTGRES = 1
VALKEY = 2
SUPERVISOR_CONTAINER = 10
SUPERVISOR_COMPUTE = 11
GATEWAY = 12
GRPC = 13
CLICKHOUSE = 14
SUPERVISOR_METRICS = 20
SUPERVISOR_COMPUTE_METRICS = 21
GREATEST_DISTANCE = SUPERVISOR_COMPUTE_METRICS


class InvalidPort(Exception):
    """PORT is no port from which all others can be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of the processes that exist. Every one listens on loopback only."""

    web: int
    postgres: int
    valkey: int
    supervisor_container: int
    supervisor_metrics: int
    supervisor_compute: int
    supervisor_compute_metrics: int
    gateway: int

    @classmethod
    def from_web(cls, web: int) -> Self:
        """Give the ports that belong to a web port."""
        return cls(
            web=web,
            postgres=web + POSTGRES,
            valkey=web + VALKEY,
            supervisor_container=web + SUPERVISOR_CONTAINER,
            supervisor_metrics=web + SUPERVISOR_METRICS,
            supervisor_compute=web + SUPERVISOR_COMPUTE,
            supervisor_compute_metrics=web + SUPERVISOR_COMPUTE_METRICS,
            gateway=web + GATEWAY,
        )


def read_web_port(text: str) -> int:
    """Give the web port named by PORT ("" means the default), or raise `InvalidPort`."""
    if not text:
        return DEFAULT_WEB_PORT
    greatest = HIGHEST_PORT - GREATEST_DISTANCE
    if not text.isdecimal() or not 1 <= int(text) <= greatest:
        raise InvalidPort(f"PORT is {text!r}; it is a whole number from 1 to {greatest}")
    return int(text)


def is_free(port: int) -> bool:
    """Say whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(wanted: int) -> int:
    """Give the wanted port when it is free, else one the system picks."""
    if is_free(wanted):
        return wanted
    return any_free_port()


def any_free_port() -> int:
    """Give a free port that the system picks; nothing keeps it free."""
    with hold_port() as holder:
        return int(holder.getsockname()[1])


def hold_port() -> socket.socket:
    """Give a socket that keeps a free port from everybody else until it is closed."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((LOOPBACK, 0))
    return holder
