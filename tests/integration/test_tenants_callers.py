"""Environment keys: one query when new, none when known, refused at once when changed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from flags.callers import CALLERS, find_caller
from flags.services import set_organization_flags
from ledger.feed import feed
from tenants.crypto import hash_secret
from tenants.keys import create_environment_key, revoke_environment_key
from tenants.services import update_environment, update_organization
from tests.factories import ORIGIN, Tenant, make_tenant
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import DjangoAssertNumQueries

    from tests.servers import Servers

pytestmark = pytest.mark.django_db(transaction=True)


def now() -> datetime:
    """Give the clock's time: the database compares the end of a key with its own."""
    return datetime.now(UTC)


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization that nobody has called for yet."""
    return make_tenant(plan="paid")


def test_a_key_costs_one_query_once(
    tenant: Tenant, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """A key that is not known costs one query, a known one none."""
    with django_assert_num_queries(1):
        find_caller(tenant.keys["prod"])
    with django_assert_num_queries(0):
        find_caller(tenant.keys["prod"])


def test_a_caller_is_complete(tenant: Tenant) -> None:
    """The caller has the organization, project and environment of the key, and the overrides."""
    set_organization_flags(tenant.organization.id, {"hasComputeAccess": True}, **ORIGIN)
    caller = find_caller(tenant.keys["prod"])
    assert caller is not None
    assert caller.key_id == tenant.key_ids["prod"]
    organization = caller.organization
    assert organization.id == tenant.organization.id
    assert organization.slug == tenant.organization.slug
    assert organization.title == tenant.organization.title
    assert organization.plan == "paid"
    assert organization.plan_at == tenant.organization.plan_at
    assert caller.organization.overrides == {"hasComputeAccess": True}
    assert caller.project[:2] == (tenant.project.id, tenant.project.ref)
    environment = tenant.environments["prod"]
    assert caller.environment == (environment.id, "PRODUCTION", "prod", 100, False)


@pytest.mark.parametrize("key", ["", "tr_prod_", "tr_prod_" + "x" * 40, "x" * 100_000, "é", "\x00"])
def test_an_unknown_key_is_nobody(key: str) -> None:
    """What is no key finds nobody."""
    assert find_caller(key) is None


def test_guessing_costs_no_query_each(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """A key that was not found is remembered for a while."""
    find_caller("tr_prod_guess")
    with django_assert_num_queries(0):
        assert find_caller("tr_prod_guess") is None


CHANGES: list[tuple[Callable[[Tenant], Any], Callable[[Any], Any]]] = [
    (
        lambda tenant: update_organization(
            tenant.organization.id, {"plan": "enterprise"}, now=now(), **ORIGIN
        ),
        lambda caller: caller.organization.plan == "enterprise",
    ),
    (
        lambda tenant: update_environment(
            tenant.environments["prod"].id, {"paused": True}, **ORIGIN
        ),
        lambda caller: caller.environment.paused,
    ),
    (
        lambda tenant: set_organization_flags(
            tenant.organization.id, {"hasComputeAccess": True}, **ORIGIN
        ),
        lambda caller: caller.organization.overrides == {"hasComputeAccess": True},
    ),
    (
        lambda tenant: revoke_environment_key(tenant.key_ids["prod"], now=now(), **ORIGIN),
        lambda caller: caller is None,
    ),
]


@pytest.mark.parametrize(("change", "is_seen"), CHANGES)
def test_the_process_that_wrote_sees_it_at_once(
    tenant: Tenant, change: Callable[[Tenant], Any], is_seen: Callable[[Any], Any]
) -> None:
    """After a write returns, the next request here has the new value."""
    find_caller(tenant.keys["prod"])
    change(tenant)
    assert is_seen(find_caller(tenant.keys["prod"]))


def test_a_change_leaves_other_tenants_in_memory(tenant: Tenant) -> None:
    """Only what a change is about is dropped."""
    other = make_tenant()
    find_caller(other.keys["prod"])
    find_caller(tenant.keys["prod"])
    update_organization(tenant.organization.id, {"title": "Renamed"}, now=now(), **ORIGIN)
    assert CALLERS.peek(hash_secret(other.keys["prod"])) is not None
    assert CALLERS.peek(hash_secret(tenant.keys["prod"])) is None


def test_a_new_key_works_though_it_was_guessed_before(tenant: Tenant) -> None:
    """That a key was not found is forgotten when keys change."""
    new = create_environment_key(tenant.environments["prod"].id, now=now(), **ORIGIN)
    assert find_caller(new.plaintext) is not None


def test_a_rotated_key_works_until_its_grace_is_over(tenant: Tenant) -> None:
    """The old key works beside the new one, and stops by itself, also from memory."""
    env, old = tenant.environments["prod"].id, tenant.keys["prod"]
    new = create_environment_key(env, now=now(), grace=timedelta(seconds=1), **ORIGIN)
    assert find_caller(old) is not None
    assert find_caller(new.plaintext) is not None
    wait_until(lambda: find_caller(old) is None, what="the old key stops")
    assert CALLERS.peek(hash_secret(old)) is not None
    assert find_caller(new.plaintext) is not None


def test_a_rotation_without_grace_ends_the_key_at_once(tenant: Tenant) -> None:
    """With no grace the old key is refused from now on."""
    find_caller(tenant.keys["prod"])
    env = tenant.environments["prod"].id
    create_environment_key(env, now=now(), grace=timedelta(0), **ORIGIN)
    assert find_caller(tenant.keys["prod"]) is None


WRITER = """
import django
django.setup()
from datetime import UTC, datetime
from tenants.keys import revoke_environment_key
revoke_environment_key("{key_id}", now=datetime.now(UTC), actor="system:test", source="test")
"""


@pytest.mark.parametrize("has_redis", [True, False])
def test_a_key_revoked_elsewhere_is_refused_here(
    tenant: Tenant, servers: Servers, has_redis: bool
) -> None:
    """Another process's revocation arrives by message, and without Redis by the next poll."""
    servers.need_valkey()
    connection.ensure_connection()
    name = connection.settings_dict["NAME"]
    url = f"{servers.postgres_url.rpartition('/')[0]}/{name}"
    redis_url = servers.redis_url if has_redis else "redis://127.0.0.1:1/0"
    feed.start()
    try:
        wait_until(lambda: feed.served_revision is not None and feed.subscribed)
        assert find_caller(tenant.keys["prod"]) is not None
        code = textwrap.dedent(WRITER.format(key_id=tenant.key_ids["prod"]))
        settings = ["DJANGO_SETTINGS_MODULE=webapp.settings", f"DATABASE_URL={url}"]
        command = ["env", *settings, f"REDIS_URL={redis_url}", sys.executable, "-c", code]
        subprocess.run(command, check=True, timeout=60)
        wait_until(lambda: find_caller(tenant.keys["prod"]) is None, what="it is refused here")
    finally:
        feed.stop()
