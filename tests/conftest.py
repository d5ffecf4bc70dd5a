"""Fixtures every test may use. The servers themselves are in `tests/servers.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis
from django.conf import settings
from django.contrib.contenttypes.management import create_contenttypes
from django.db import connection, connections
from django.db.models.signals import post_migrate

from tests.emptying import QuickOperations
from tests.live import live_session, live_stack, requiring, shared_file
from tests.node_programs import node
from tests.servers import SERVERS, Servers, start_postgres
from tests.sizes import load_profile
from webapp.embedded.ports import any_free_port
from webapp.throttle import forget_failures

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_django import DjangoDbBlocker

load_profile()

# Fixtures from elsewhere; a session has one of each because they are named here and nowhere else.
__all__ = ["live_session", "live_stack", "node", "requiring", "shared_file"]


def pytest_configure() -> None:
    """Hash the suite's passwords quickly."""
    settings.PASSWORD_HASHERS = ["tests.passwords.QuickHasher"]


@pytest.fixture(autouse=True)
def _fresh_throttles() -> None:
    """Let no test pay for the wrong credentials of another."""
    forget_failures()


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """Give the servers of this process; ask them for what you need."""
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def postgres_url(servers: Servers) -> str:
    """Give the address of the running PostgreSQL (not of Django's test database)."""
    servers.need_postgres()
    return servers.postgres_url


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """Give the address of the running Valkey; what earlier tests left in it is still there."""
    servers.need_valkey()
    return servers.redis_url


@pytest.fixture
def valkey(servers: Servers) -> Generator[redis.Redis, None, None]:
    """Give a client of an empty Valkey, running also when an earlier test stopped it."""
    servers.need_valkey()
    with redis.Redis.from_url(servers.redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def durable_postgres_url(servers: Servers) -> Generator[str, None, None]:
    """Give the address of a PostgreSQL of the test's own, which keeps what it has committed."""
    postgres = servers.new_postgres(f"durable-{uuid4().hex}", durable=True)
    port = any_free_port()
    running = start_postgres(postgres, port)
    yield postgres.url(port)
    running.stop()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    postgres_url: str,
    django_db_modify_db_settings_parallel_suffix: None,
) -> None:
    """Have PostgreSQL running before Django makes its test database in it."""


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Leave the test database standing: the whole server is thrown away with the suite."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Let tests that commit empty the audit afterwards, which a real database refuses.

    The test of the refusal switches the trigger on again for its own transaction. Nor does Django
    make its permissions anew each time, which takes longer than to empty everything; nobody has any.
    """
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    connections["default"].ops = QuickOperations(connections["default"])
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ledger_auditrow DISABLE TRIGGER ledger_auditrow_no_truncate")
