"""Django's PostgreSQL, whose pool gives out no connection that ended while it lay there.

A restart of PostgreSQL ends every idle connection, and each of them would fail one request more.
The server's end of one is seen on its socket, so to look costs a system call and no round trip.
Nothing was sent on a connection that was just taken: to take another is safe whatever follows.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from django.db.backends.postgresql import base

if TYPE_CHECKING:
    from psycopg import Connection


class DatabaseWrapper(base.DatabaseWrapper):
    """One thread's access to the database, as Django looks for it by this name."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Give a connection of the pool that was alive just now."""
        connection = super().get_new_connection(conn_params)
        ended = 0
        while not is_quiet(connection) and self.pool and ended < self.pool.max_size:
            ended += 1
            connection.close()
            self.pool.putconn(connection)  # which makes a new one in the place of one that ended
            connection = super().get_new_connection(conn_params)
        return connection


def is_quiet(connection: Connection[Any]) -> bool:
    """Tell whether nothing has arrived on an idle connection.

    What arrives without a question is the server's farewell, or the end of the line. A notice would
    look the same; then a good connection is replaced.
    """
    if connection.closed:
        return False
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return not socket.poll(0)
