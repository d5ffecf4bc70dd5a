"""A write through the ledger: its revision, its audit rows and what it says it touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.chain import Unrecordable, canonical_text, stored_value
from ledger.models import AuditRow, Change, Revision
from ledger.selectors import (
    UnknownAuditRow,
    changes_since,
    current_revision,
    get_audit_row,
    list_audit,
    list_keys_changed_after,
)
from ledger.services import (
    NestedWrite,
    UnknownKind,
    ledger_write,
    prune_changes,
    verify_audit,
)
from tests.sizes import examples

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def _set(key: str, old: Any, new: Any, *, org: str | None = None, actor: str = "user:a@b.c") -> int:
    scope = "global" if org is None else "organization"
    with ledger_write(actor=actor, source="test", now=NOW) as write:
        write.record(scope=scope, key=key, old=old, new=new, org=org)
        write.touch("flags")
    return write.revision


def _write_and_fail() -> None:
    with ledger_write(actor="user:a@b.c", source="test") as write:
        write.record(scope="global", key="a", old=None, new=1)
        write.touch("flags")
        raise ZeroDivisionError


def _write_inside_a_write() -> None:
    with ledger_write(actor="user:a@b.c", source="test") as outer:
        outer.touch("flags")
        with ledger_write(actor="user:a@b.c", source="test") as inner:
            inner.touch("flags")


def test_a_write_takes_the_next_revision() -> None:
    """Each write that changes something has its own number, known while it runs."""
    before = current_revision()
    assert [_set("a", None, 1), _set("a", 1, 2)] == [before + 1, before + 2]
    assert current_revision() == before + 2


def test_one_audit_row_per_changed_key() -> None:
    """Who, whence, what, from what to what, why: all of it is kept, for each key that changed."""
    with ledger_write(
        actor="user:a@b.c", source="api", reason="because", request_id="r1", now=NOW
    ) as write:
        write.record(scope="global", key="same", old={"a": [1]}, new={"a": [1]})
        write.record(scope="global", key="first", old=None, new=False)
        write.record(scope="organization", key="second", old=1, new=True, org="org_1")
    second, first = list_audit().rows
    assert (first.key, first.old, first.new, first.org) == ("first", None, False, None)
    assert (second.key, second.old, second.new, second.org) == ("second", 1, True, "org_1")
    assert (second.actor, second.source, second.scope) == ("user:a@b.c", "api", "organization")
    assert (second.reason, second.request_id) == ("because", "r1")
    assert (second.at, second.revision, second.new) == (NOW, write.revision, True)
    assert changes_since(write.revision - 1).touched == ()


def test_a_write_that_changes_nothing_leaves_nothing() -> None:
    """Neither a revision nor an audit row nor a message comes of an equal value."""
    before = current_revision()
    with ledger_write(actor="user:a@b.c", source="test") as write:
        write.record(scope="global", key="a", old=5, new=5.0)
    assert (current_revision(), AuditRow.objects.count()) == (before, 0)
    assert not connection.run_on_commit


def test_a_touch_alone_takes_a_revision() -> None:
    """Template readiness changes without an audit row, and is announced all the same."""
    with ledger_write(actor="system:templates", source="test") as write:
        write.touch("version", "worker_1")
        write.touch("version", "worker_1")
    assert changes_since(write.revision - 1).touched == (("version", "worker_1"),)
    assert AuditRow.objects.count() == 0


def test_a_write_that_fails_leaves_nothing() -> None:
    """The block's own rows, the audit and the revision go together."""
    before = current_revision()
    with pytest.raises(ZeroDivisionError):
        _write_and_fail()
    assert (current_revision(), AuditRow.objects.count()) == (before, 0)
    assert (Change.objects.count(), connection.run_on_commit) == (0, [])


def test_what_nobody_knows_is_refused() -> None:
    """A kind that no cache follows and a value that is no JSON are mistakes of the caller."""
    with pytest.raises(UnknownKind), ledger_write(actor="user:a", source="test") as write:
        write.touch("flagz")
    with pytest.raises(Unrecordable), ledger_write(actor="user:a", source="test") as write:
        write.record(scope="global", key="a", old=None, new=float("nan"))


def test_a_write_inside_a_write_is_refused() -> None:
    """Two writes cannot have one revision, so the outer one is undone with the inner one."""
    before = current_revision()
    with pytest.raises(NestedWrite):
        _write_inside_a_write()
    assert current_revision() == before


def test_two_writes_of_one_transaction_follow_each_other() -> None:
    """A larger transaction may hold several writes, each with its revision and its place."""
    with transaction.atomic():
        first, second = _set("a", None, 1), _set("b", None, 1)
    assert second == first + 1
    assert verify_audit().is_valid


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_auditrow SET actor = 'somebody else'",
        "DELETE FROM ledger_auditrow",
        "TRUNCATE ledger_auditrow",
    ],
)
def test_the_database_refuses_to_rewrite_the_audit(statement: str) -> None:
    """Rows are added and never changed or removed, whatever the code says."""
    _set("a", None, 1)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE ledger_auditrow ENABLE TRIGGER ledger_auditrow_no_truncate")
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            cursor.execute(statement)
    assert AuditRow.objects.count() == 1


def test_the_database_keeps_one_revision_row() -> None:
    """There is one revision for everything."""
    with pytest.raises(IntegrityError), transaction.atomic():
        Revision.objects.create(id=2)


def test_a_lost_revision_row_is_made_anew_from_the_audit() -> None:
    """After the row was removed numbers go on from where they were, and so does the chain."""
    last = _set("a", None, 1)
    Revision.objects.all().delete()
    assert _set("a", 1, 2) == last + 1
    assert verify_audit().is_valid
    assert not changes_since(last - 1).is_complete


@given(st.lists(JSON, max_size=4))
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_verifies_after_the_database_had_it(values: list[Any]) -> None:
    """What is hashed is what is read back, for every JSON value."""
    with ledger_write(actor="user:a", source="test") as write:
        for number, value in enumerate(values):
            write.record(scope="global", key=f"k{number}", old=None, new=value)
    stored = AuditRow.objects.filter(revision=write.revision).order_by("id")
    texts = [canonical_text(row.new) for row in stored]
    assert texts == [canonical_text(stored_value(value)) for value in values if value is not None]
    assert verify_audit(chunk=3).is_valid


def test_audit_pages_are_newest_first_and_filtered() -> None:
    """Pages follow each other without a gap, and each filter narrows them."""
    for number in range(5):
        _set("a", number, number + 1)
    _set("b", None, 1, org="org_1", actor="user:z@b.c")
    first = list_audit(limit=4)
    rest = list_audit(limit=4, after=first.next_after)
    assert [row.new for row in (*first.rows, *rest.rows)] == [1, 5, 4, 3, 2, 1]
    assert rest.next_after is None
    assert [row.key for row in list_audit(org="org_1").rows] == ["b"]
    assert [row.key for row in list_audit(actor="user:z@b.c").rows] == ["b"]
    assert len(list_audit(key="a").rows) == 5
    assert get_audit_row(rest.rows[0].id) == rest.rows[0]


def test_an_unknown_audit_row_is_an_error_of_its_own() -> None:
    """Reverting what never was has a name."""
    with pytest.raises(UnknownAuditRow):
        get_audit_row(0)


def test_keys_changed_after_a_revision_in_their_scope() -> None:
    """A conflict is a change of the same key in the same scope, of nothing else."""
    seen = _set("a", None, 1)
    _set("a", 1, 2)
    _set("b", None, 1, org="org_1")
    keys = ["a", "b", "c"]
    assert list_keys_changed_after(scope="global", org=None, keys=keys, revision=seen) == ["a"]
    assert list_keys_changed_after(scope="global", org=None, keys=["b"], revision=seen) == []
    found = list_keys_changed_after(scope="organization", org="org_1", keys=keys, revision=seen)
    assert found == ["b"]


def test_changes_since_a_revision() -> None:
    """A reader gets what changed after its revision, in order, and nothing twice."""
    start = current_revision()
    for subject in ["e1", "e2", "e3"]:
        with ledger_write(actor="user:a", source="test") as write:
            write.touch("environment", subject)
    changes = changes_since(start + 1)
    assert (changes.revision, changes.is_complete) == (start + 3, True)
    assert changes.touched == (("environment", "e2"), ("environment", "e3"))
    assert changes_since(start + 3).touched == ()


def test_changes_that_cannot_be_told_are_incomplete() -> None:
    """Too many, pruned, of another database, or from the start: drop everything."""
    start = current_revision()
    revisions = [_set("a", number, number + 1) for number in range(3)]
    assert not changes_since(start, limit=2).is_complete
    assert not changes_since(revisions[-1] + 5).is_complete
    assert not changes_since(None).is_complete
    assert {changes_since(start, limit=2).revision, changes_since(None).revision} == {start + 3}


def test_pruning_keeps_the_newest_and_the_young() -> None:
    """Old or too many changes are forgotten, whole revisions at a time, and readers are told."""
    start = current_revision()
    for _ in range(4):
        _set("a", None, 1)
    assert prune_changes(now=NOW + timedelta(hours=23)) == 0
    assert prune_changes(now=NOW, keep=3) == 1
    assert not changes_since(start).is_complete
    assert len(changes_since(start + 1).touched) == 3
    assert prune_changes(now=NOW + timedelta(hours=25)) == 3
    assert changes_since(start + 4).is_complete
    assert prune_changes(now=NOW + timedelta(hours=25)) == 0


def test_a_note_takes_no_revision_and_is_part_of_the_chain() -> None:
    """What came to be by itself has its own time and revision, and stands before what is written."""
    first, early = _set("a", None, 1), NOW - timedelta(hours=1)
    signature = {"actor": "system:x", "source": "x", "reason": "r", "request_id": None}
    note: dict[str, Any] = {"scope": "global", "key": "a", "at": early, "signature": signature}
    with ledger_write(actor="user:a@b.c", source="test", now=NOW) as write:
        write.note(change=(1, 2), revision=first, **note)
    assert (current_revision(), changes_since(first).touched) == (first, ())
    with ledger_write(actor="user:a@b.c", source="test", now=NOW) as write:
        write.record(scope="global", key="a", old=3, new=4)
        write.note(change=(2, 3), revision=first, **note)
    rows = [(row.old, row.new, row.revision, row.at, row.actor) for row in list_audit().rows]
    assert rows[:3] == [
        (3, 4, first + 1, NOW, "user:a@b.c"),
        (2, 3, first, early, "system:x"),
        (1, 2, first, early, "system:x"),
    ]
    assert verify_audit().is_valid


def _note_inside() -> None:
    signature = {"actor": "a", "source": "x", "reason": None, "request_id": None}
    note: dict[str, Any] = {"scope": "global", "key": "a", "at": NOW, "signature": signature}
    with ledger_write(actor="a", source="x") as write:
        write.touch("flags")
        with ledger_write(actor="a", source="x") as inner:
            inner.note(change=(1, 2), revision=1, **note)


def test_a_note_inside_another_write_is_refused() -> None:
    """Two heads of one chain cannot be, whether or not a revision was taken."""
    with pytest.raises(NestedWrite):
        _note_inside()
