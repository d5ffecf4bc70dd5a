"""Undoing a change that moves organizations: who moves is said before anything is pressed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from flags.catalog import COMPUTE_ACCESS, MIGRATION_ENABLED
from flags.selectors import get_global_value
from flags.services import kill_migration, set_global_flags
from ledger.selectors import list_audit
from tests.factories import ORIGIN
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.operating import Staff, make_staff

if TYPE_CHECKING:
    from ledger.selectors import AuditEntry

pytestmark = pytest.mark.django_db

ROOM = "/admin/migration/"


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser."""
    return make_staff()


@pytest.fixture
def killed() -> Migrating:
    """Give an organization that a kill has just taken back to containers."""
    migration = make_migrating(plan="paid")
    migration.set_flags(EVERYONE)
    kill_migration(**ORIGIN)
    return migration


def last_change(key: str) -> AuditEntry:
    """Give the newest row of a key."""
    return list_audit(key=key, limit=1).rows[0]


def path_of(row: AuditEntry) -> str:
    """Give the page of a change."""
    return f"/admin/audit/{row.id}/"


def test_a_kill_is_not_undone_by_one_press_in_a_list(staff: Staff, killed: Migrating) -> None:
    """The list has a way to the change, the change says who comes back, and its button does it."""
    row = last_change(MIGRATION_ENABLED)
    for path in (ROOM, "/admin/audit/"):
        page = staff.page(path)
        assert f'<form method="post" action="{path_of(row)}"' not in page
        assert re.search(rf'<a href="{path_of(row)}"[^>]*>Revert…</a>', page)
    page = staff.page(path_of(row))
    assert "1 organization moves to MicroVM" in page
    assert "Move 1 organization to MicroVM</button>" in page
    assert get_global_value(MIGRATION_ENABLED) is False
    staff.send(path_of(row), staff.form(path_of(row)), 303)
    assert get_global_value(MIGRATION_ENABLED) is True


def test_what_was_changed_since_promises_nothing(staff: Staff, killed: Migrating) -> None:
    """An older change cannot be reverted any more, so its page does not say who would move."""
    row = last_change(MIGRATION_ENABLED)
    set_global_flags({MIGRATION_ENABLED: True}, **ORIGIN)
    page = staff.page(path_of(row))
    assert "moves to MicroVM" not in page
    staff.send(path_of(row), staff.form(path_of(row)), 409)


def test_what_moves_nobody_is_undone_at_once(staff: Staff) -> None:
    """Undo beats confirm where there is nothing to confirm."""
    set_global_flags({COMPUTE_ACCESS: True}, **ORIGIN)
    row = last_change(COMPUTE_ACCESS)
    assert f'<form method="post" action="{path_of(row)}"' in staff.page("/admin/audit/")
    assert "Set hasComputeAccess back to not set</button>" in staff.page(path_of(row))
