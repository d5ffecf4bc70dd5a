"""PostgreSQL restarts while connections lie in the pool: whoever comes next does not notice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.db import OperationalError

from ledger.postgresql.base import DatabaseWrapper
from tests.servers import START_TIMEOUT_S, Servers, start_postgres
from webapp.embedded.ports import any_free_port

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_django.plugin import DjangoDbBlocker

    from tests.servers import Running
    from webapp.embedded.postgres import Postgres

ALIAS = "restarting"  # names its pool
CONNECTIONS = 5


class Restarting:
    """A PostgreSQL of the test's own, and those that use it: each takes a connection in turn."""

    def __init__(self, postgres: Postgres) -> None:
        """Start it on a free port."""
        self._postgres = postgres
        self._port = any_free_port()
        self._running: Running = start_postgres(postgres, self._port)
        address = {"PORT": self._port, "NAME": "crossfade", "PASSWORD": postgres.password}
        default = settings.DATABASES["default"]
        pool = {**default["OPTIONS"]["pool"], "timeout": START_TIMEOUT_S}
        database = {**default, **address, "OPTIONS": {**default["OPTIONS"], "pool": pool}}
        self.users = [DatabaseWrapper(database, ALIAS) for _ in range(CONNECTIONS)]

    def fill_pool(self) -> set[int]:
        """Have all use it at once and give their connections back; give who served them."""
        served = {backend_of(user) for user in self.users}
        for user in self.users:
            user.close()
        return served

    def discarded(self) -> int:
        """Count the connections that the pool was given back ended."""
        stats: dict[str, int] = self.users[0].pool.get_stats()
        return stats.get("returns_bad", 0)

    def stop(self) -> None:
        """Send everybody away, as a restart does."""
        self._running.stop()

    def start(self) -> None:
        """Start it on the same port."""
        self._running = start_postgres(self._postgres, self._port)


def backend_of(user: DatabaseWrapper) -> int:
    """Ask the database who serves this user."""
    with user.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@pytest.fixture(scope="module")
def server(servers: Servers) -> Generator[Restarting, None, None]:
    """Give a server that is stopped, with its pool, in the end."""
    server = Restarting(servers.new_postgres(ALIAS, durable=False))
    try:
        yield server
    finally:
        server.users[0].close_pool()
        server.stop()


@pytest.fixture
def restarting(
    server: Restarting, django_db_blocker: DjangoDbBlocker
) -> Generator[Restarting, None, None]:
    """Give the server to a test; everybody gives their connection back in the end."""
    with django_db_blocker.unblock():  # no table of ours is in it
        yield server
        for user in server.users:
            user.close()


@pytest.mark.fault(
    kills="PostgreSQL restarts",
    step="idle: connections lie in the pool",
    expects="each is replaced before it is used; nobody gets an error",
)
def test_a_restart_is_not_noticed_by_who_comes_after_it(restarting: Restarting) -> None:
    """Of many connections that ended in the pool none fails the one who takes it."""
    before = restarting.fill_pool()
    assert len(before) == CONNECTIONS
    restarting.stop()
    restarting.start()
    assert len(restarting.fill_pool()) == CONNECTIONS


@pytest.mark.fault(
    kills="PostgreSQL is away",
    step="idle: a connection is asked for meanwhile",
    expects="whoever asks waits for it, within the pool's bound",
)
def test_who_comes_during_a_restart_waits(restarting: Restarting) -> None:
    """A dead connection is known as such, so one waits for a new one in place of failing."""
    restarting.fill_pool()
    restarting.stop()
    with ThreadPoolExecutor(1) as pool:
        user = restarting.users[0]
        user.inc_thread_sharing()
        asked = pool.submit(backend_of, user)
        restarting.start()
        assert asked.result(timeout=2 * START_TIMEOUT_S) > 0


def test_what_was_begun_is_not_begun_again(restarting: Restarting) -> None:
    """A connection that ended in somebody's hands fails: what was sent may have been done."""
    user = restarting.users[0]
    backend_of(user)
    restarting.stop()
    restarting.start()
    with pytest.raises(OperationalError):
        backend_of(user)


def test_good_connections_are_used_again(restarting: Restarting) -> None:
    """The look at them takes none for one that ended."""
    restarting.fill_pool()
    before = restarting.discarded()
    restarting.fill_pool()
    assert restarting.discarded() == before
