"""Tampering with the audit behind the triggers' back is found, and named."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from ledger.chain import row_hash
from ledger.models import AuditRow, Revision
from ledger.services import ledger_write, verify_audit

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows() -> list[AuditRow]:
    """Give five rows of the audit, with the triggers out of the way."""
    with ledger_write(actor="user:a@b.c", source="test") as write:
        for number in range(5):
            write.record(scope="global", key=f"k{number}", old=None, new=number)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE ledger_auditrow DISABLE TRIGGER USER")
    return list(AuditRow.objects.order_by("id"))


def test_an_untouched_audit_is_valid(rows: list[AuditRow]) -> None:
    """Nothing is found where nothing was done, whatever the size of the steps."""
    assert verify_audit() == verify_audit(chunk=1) == verify_audit(chunk=2)
    assert (verify_audit().checked, verify_audit().is_valid) == (5, True)


@pytest.mark.parametrize(
    "column", ["actor", "source", "scope", "key", "reason", "request_id", "org", "hash"]
)
def test_a_changed_text_is_found(rows: list[AuditRow], column: str) -> None:
    """Whichever column was changed, the row is named and the rows before it are good."""
    AuditRow.objects.filter(id=rows[2].id).update(**{column: "changed"})
    verdict = verify_audit()
    assert (verdict.checked, verdict.bad_row) == (2, rows[2].id)


@pytest.mark.parametrize(("column", "value"), [("old", 7), ("new", True), ("revision", 99)])
def test_a_changed_value_is_found(rows: list[AuditRow], column: str, value: object) -> None:
    """Also when 1 became true."""
    AuditRow.objects.filter(id=rows[1].id).update(**{column: value})
    assert verify_audit().bad_row == rows[1].id


def test_a_changed_time_is_found(rows: list[AuditRow]) -> None:
    """A microsecond is enough."""
    AuditRow.objects.filter(id=rows[1].id).update(at=rows[1].at.replace(microsecond=1))
    assert verify_audit().bad_row == rows[1].id


@pytest.mark.parametrize(("removed", "named"), [(0, 1), (2, 3)])
def test_a_removed_row_is_found_at_the_next(rows: list[AuditRow], removed: int, named: int) -> None:
    """The row after a missing one does not follow from the one before it."""
    AuditRow.objects.filter(id=rows[removed].id).delete()
    assert verify_audit().bad_row == rows[named].id


def test_removed_newest_rows_are_found(rows: list[AuditRow]) -> None:
    """The revision's row knows where the chain ends."""
    AuditRow.objects.filter(id=rows[4].id).delete()
    verdict = verify_audit()
    assert (verdict.checked, verdict.bad_row, verdict.is_valid) == (4, None, False)


def test_a_row_added_by_hand_is_found(rows: list[AuditRow]) -> None:
    """Even one whose hash is right is named, because the chain's end is known elsewhere."""
    names = ["actor", "source", "scope", "org", "key", "old", "new", "reason", "request_id"]
    fields = {name: getattr(rows[4], name) for name in [*names, "revision"]}
    text = {**fields, "at": rows[4].at.isoformat(timespec="microseconds")}
    added = AuditRow.objects.create(
        **fields, at=rows[4].at, prev_hash=rows[4].hash, hash=row_hash(rows[4].hash, text)
    )
    verdict = verify_audit()
    assert (verdict.checked, verdict.bad_row, verdict.is_valid) == (5, added.id, False)


def test_a_row_put_between_two_is_found(rows: list[AuditRow]) -> None:
    """No two rows follow the same one, so what stands between two follows none of them."""
    AuditRow.objects.filter(id=rows[4].id).update(id=rows[4].id + 1)
    forged = AuditRow.objects.create(
        id=rows[4].id,
        at=rows[3].at,
        actor="user:a@b.c",
        source="test",
        scope="global",
        key="forged",
        revision=1,
        prev_hash=row_hash(rows[3].hash, {}),
        hash=row_hash(rows[3].hash, {"forged": True}),
    )
    verdict = verify_audit()
    assert (verdict.checked, verdict.bad_row) == (4, forged.id)


def _swap(one: AuditRow, other: AuditRow) -> None:
    highest = max(one.id, other.id) + 1000
    AuditRow.objects.filter(id=one.id).update(id=highest)
    AuditRow.objects.filter(id=other.id).update(id=one.id)
    AuditRow.objects.filter(id=highest).update(id=other.id)


def test_rows_that_changed_places_are_found(rows: list[AuditRow]) -> None:
    """The order of the rows is part of what is proved."""
    _swap(rows[1], rows[2])
    assert verify_audit().bad_row == rows[1].id


def _change(rows: list[AuditRow]) -> None:
    AuditRow.objects.filter(id=rows[3].id).update(actor="user:else")


def _cut(rows: list[AuditRow]) -> None:
    Revision.objects.update(head_hash="0" * 64)


def test_the_command_counts_good_rows(rows: list[AuditRow]) -> None:
    """An operator sees how much was checked, and the hash to keep elsewhere."""
    out = StringIO()
    call_command("verify_audit", stdout=out)
    assert out.getvalue().splitlines() == [
        "5 audit rows, all as they were written",
        f"newest hash: {rows[4].hash}",
    ]


@pytest.mark.parametrize(("tamper", "where"), [(_change, "at row"), (_cut, "at its end")])
def test_the_command_fails_on_a_bad_row(
    rows: list[AuditRow], tamper: Callable[[list[AuditRow]], None], where: str
) -> None:
    """A broken audit is an exit status, not a line to overlook."""
    tamper(rows)
    with pytest.raises(CommandError, match=f"the audit is broken {where}"):
        call_command("verify_audit")
