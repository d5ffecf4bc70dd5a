"""Database connections of threads that no request cleans up after, and of forked children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from ledger.forks import first_after_fork

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_inherited: list[Any] = []  # kept, because whoever closes them ends the parent's sessions


def release_connections() -> None:
    """Give this thread's connections back to their pools, those in a transaction excepted.

    Nothing is lost: the next query takes one again. For threads that are about to wait or to end.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _forget_inherited() -> None:
    """Leave the connections that a fork copied to the parent, which goes on using them."""
    for connection in connections.all(initialized_only=True):
        _inherited.append(connection.connection)
        connection.connection = None
        _forget_pools(connection)


def _forget_pools(connection: BaseDatabaseWrapper) -> None:
    pools: dict[str, Any] = getattr(connection, "_connection_pools", {})
    _inherited.extend(pools.values())
    pools.clear()


first_after_fork(_forget_inherited)
