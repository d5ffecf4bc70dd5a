"""Every way to write leaves one audit row for each key it changed, in the same transaction."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import get_commands
from django.db import DatabaseError, connection
from django.urls import URLPattern, get_resolver

from deployments.region_snapshot import LIVENESS, REGIONS
from deployments.worker_groups import record_heartbeat
from flags.services import set_global_flags, set_organization_flags
from ledger.selectors import AuditEntry, current_revision, list_audit
from ledger.services import verify_audit
from tests.api_client import ApiClient
from tests.browsing import REGION, make_shop
from tests.factories import ORIGIN, make_person, make_worker_group
from tests.not_audited import NOT_AUDITED
from tests.operating import REASON, audit_after, make_staff
from tests.running import change, rows_of
from tests.undoing import undone
from tests.write_table import FREE, WRITES, Stage, Write
from webapp.api.openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

OURS = {"ledger", "tenants", "flags", "deployments", "runs", "rollout", "webapp"}
READS = {"GET", "HEAD", "OPTIONS"}
# Not how the platform is set: who is logged in, and which process said that it is alive.
VOLATILE = {"django_session", "ledger_replica", "django_migrations"}
FAIL = """
CREATE FUNCTION refuse_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the disk is full' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER refuse_audit AFTER INSERT ON ledger_auditrow
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit();
"""
HEAL = "DROP TRIGGER refuse_audit ON ledger_auditrow; DROP FUNCTION refuse_audit();"


@pytest.fixture
def stage(tmp_path: Path, settings: Any) -> Stage:
    """Set everything up that any of the writes needs."""
    templates = replace(settings.ENV.templates, gateway_url="http://127.0.0.1:1")
    settings.ENV = replace(settings.ENV, templates=templates)
    shop = make_shop()
    backing = make_worker_group(
        name="vm", fields={"workload_type": "MICROVM", "region": REGION, "priority": 1}
    )
    now = rows_of("SELECT clock_timestamp()")[0][0]
    record_heartbeat(group_id=backing.id, name="s", now=now)
    spare = make_worker_group(name="spare", fields={"region": "spare"})
    set_organization_flags(shop.tenant.organization.id, {"computeMigrationEnabled": True}, **ORIGIN)
    for registry in (REGIONS, LIVENESS):
        registry.reload()
    shop.trigger()
    set_global_flags({FREE: 25, "computeMigrationEnabled": True}, **ORIGIN)
    (dial,) = list_audit(key=FREE).rows
    api = ApiClient(make_person(is_staff=True).token)
    return Stage(shop, api, make_staff(), spare.id, dial.id, tmp_path)


# -- the tables are whole --------------------------------------------------------------------------


def test_every_api_route_that_writes_is_in_a_table() -> None:
    """Whoever adds a route says what it leaves in the audit, or why nothing."""
    routes = {
        f"{method.upper()} {path}"
        for path, calls in openapi_document()["paths"].items()
        for method in calls
        if method.upper() not in READS
    }
    known = {re.sub(r"\{\w+\}", "*", name) for name in (*WRITES, *NOT_AUDITED)}
    assert {re.sub(r"\{\w+\}", "*", route) for route in routes} - known == set()


def test_every_page_that_takes_a_form_is_in_a_table(stage: Stage) -> None:
    """A page that answers a form with anything but 405 writes, unless a table says otherwise."""
    token = stage.staff.form("/admin/flags/")["csrfmiddlewaretoken"]
    pages = sorted(all_pages(), key=lambda path: "logout" in path)  # which end the session
    taking = {path for path in pages if takes_forms(stage.staff.client, path, token)}
    assert taking - {*WRITES, *NOT_AUDITED} == set()
    assert {path for path in WRITES if path.startswith("/")} <= taking


def all_pages(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """Give every address that is no call of the API, with `*` for its parts."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + re.sub(r"<[^>]+>", "*", str(pattern.pattern))
        if not isinstance(pattern, URLPattern):
            yield from all_pages(pattern.url_patterns, path)
        elif "api/" not in path and not path.startswith(("engine/", "static/")):
            yield f"/{path}"


def takes_forms(client: Client, path: str, token: str) -> bool:
    """Tell whether a page answers a form; whether the thing it names is there plays no part."""
    answer = client.post(path.replace("*", "x"), {"csrfmiddlewaretoken": token})
    return answer.status_code not in {301, 302, 405}


def test_every_command_is_in_a_table() -> None:
    """Commands write, too."""
    ours = {name for name, app in get_commands().items() if app in OURS}
    assert ours - {*WRITES, *NOT_AUDITED} == set()


# -- what is written -------------------------------------------------------------------------------


STORIES: dict[str, Callable[[str], bool]] = {
    "staff API": lambda name: name.partition(" ")[2].startswith("/admin/"),
    "keys and members": lambda name: " /api/" in name or name.startswith(("/orgs", "/tokens")),
    "operators' pages": lambda name: name.startswith("/admin/"),
    "commands": lambda name: "/" not in name,
}
"""The writes by who makes them; those of one kind share a stage."""


@pytest.mark.parametrize("kind", STORIES)
def test_one_row_for_each_key_in_the_same_transaction(stage: Stage, kind: str) -> None:
    """A failure after the row leaves neither row nor change; then each changed key has one row."""
    names = [name for name in WRITES if STORIES[kind](name) and not WRITES[name].in_own_thread]
    assert names
    for name in names:
        with undone():
            check_write(name, stage)


@pytest.mark.django_db(transaction=True)
def test_one_row_also_where_another_thread_writes(stage: Stage) -> None:
    """An answer that is a stream is written by a thread of its own, in its own transaction."""
    for name in [name for name, write in WRITES.items() if write.in_own_thread]:
        check_write(name, stage)


def test_every_write_is_told_in_one_story() -> None:
    """None is left out, none is told twice."""
    told = [name for kind in STORIES.values() for name in WRITES if kind(name)]
    assert sorted(told) == sorted(WRITES)


def check_write(name: str, stage: Stage) -> None:
    """Let a write fail, then let it be done, and look at what it left."""
    write = WRITES[name]
    if write.prepare is not None:
        write.prepare(stage)
    before, revision = state_of_everything(), current_revision()
    change(FAIL)
    fails(write, stage)
    change(HEAL)
    assert state_of_everything() == before, name
    answer = write.do(stage)
    assert answer is None or answer.status_code < 400, (name, answer.content[:500])
    rows = audit_after(revision)
    assert {(row.scope.partition(":")[0], row.key) for row in rows} == write.rows, name
    named = [(row.revision, row.scope, row.org, row.key) for row in rows]
    assert len(named) == len(set(named)), name
    for row in rows:
        check_row(row, write)
    assert current_revision() == rows[-1].revision, name
    assert state_of_everything() != before, name
    assert verify_audit().is_valid, name


def fails(write: Write, stage: Stage) -> None:
    """Write while the audit refuses its rows: nobody is told that it was done."""
    try:
        answer = write.do(stage)
    except DatabaseError:
        return  # a command
    assert answer is not None
    assert answer.status_code >= 500, answer.status_code


def check_row(row: AuditEntry, write: Write) -> None:
    """Check that a row says who, when, through what, from what to what, and why."""
    assert row.actor.partition(":")[0] in {"user", "token", "key", "system"}
    assert row.source
    assert row.at.tzinfo is not None
    assert row.old != row.new
    if write.has_reason:
        assert REASON in (row.reason or "") or "Reverts change" in (row.reason or "")
        assert row.request_id


def state_of_everything() -> dict[str, str]:
    """Give a fingerprint of every table but the volatile ones."""
    tables = [
        name
        for (name,) in rows_of(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
        )
        if name not in VOLATILE
    ]
    parts = " UNION ALL ".join(
        f"SELECT '{name}', md5(coalesce(string_agg(t::text, ' ' ORDER BY t::text), ''))"
        f' FROM "{name}" t'
        for name in tables
    )
    with connection.cursor() as cursor:
        cursor.execute(parts)
        return dict(cursor.fetchall())
