"""Writes of the ledger: the one door through which every change of configuration goes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Max

from ledger.chain import GENESIS, canonical_text, row_hash, stored_value
from ledger.changes import ALL, KINDS, Touch
from ledger.feed import feed
from ledger.models import AuditRow, Change, Revision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEEP_CHANGES = 100_000  # rows
KEEP_CHANGES_FOR = timedelta(hours=24)

_HASHED = (
    "actor",
    "source",
    "scope",
    "org",
    "key",
    "old",
    "new",
    "reason",
    "request_id",
    "revision",
)  # and `at`


class NestedWrite(RuntimeError):
    """A ledger write was begun inside another one; both would have had the same revision."""


class UnknownKind(ValueError):
    """A touched kind is none that a registry or cache could know."""


@dataclass(slots=True)
class LedgerWrite:
    """A write in progress: what it changes is recorded here and stored when it ends."""

    revision: int  # the revision this write will get
    records: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    touched: dict[Touch, None] = field(default_factory=dict)  # a set that keeps its order

    def record(self, *, scope: str, key: str, old: Any, new: Any, org: str | None = None) -> None:
        """Leave one audit row for a changed key; no row when the JSON of `old` and `new` agree.

        None stands for "not set". Raise `Unrecordable` for what is not JSON.
        """
        old, new = stored_value(old), stored_value(new)
        if canonical_text(old) == canonical_text(new):
            return
        self.records.append({"scope": scope, "org": org, "key": key, "old": old, "new": new})

    def note(
        self,
        *,
        key: str,
        change: tuple[Any, Any],
        at: datetime,
        revision: int,
        scope: str,
        signature: Mapping[str, str | None],
    ) -> None:
        """Leave an audit row for what came to be by itself, at a time of its own.

        It stands before the rows of this write and takes no revision: a schedule that somebody set
        up at `revision` has moved a value, so that nobody who has seen that revision is stale.

        **Args** `change` is old and new, `signature` actor, source, reason and request id.
        """
        old, new = (stored_value(value) for value in change)
        row = {"scope": scope, "org": None, "key": key, "old": old, "new": new}
        self.notes.append({**row, **signature, "at": at, "revision": revision})

    def touch(self, kind: str, subject: str = ALL) -> None:
        """Say what registries and caches must drop; raise `UnknownKind` for a kind nobody knows."""
        if kind not in KINDS:
            raise UnknownKind(f"{kind!r} is none of {', '.join(sorted(KINDS))}")
        self.touched[(kind, subject)] = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed, so that no revision is taken."""
        return not self.records and not self.touched


@contextmanager
def ledger_write(
    *,
    actor: str,
    source: str,
    reason: str | None = None,
    request_id: str | None = None,
    now: datetime | None = None,
) -> Iterator[LedgerWrite]:
    """Open a transaction that holds the revision until it commits, and yield the write.

    **Rule** All or nothing: when the block ends with at least one record or touch, the revision,
    the audit rows and the changes are stored with whatever the block wrote; an exception undoes
    them all. When it ends with neither, no revision is taken, and only its notes are stored. After
    the commit the write takes effect in this process before its caller goes on, and the others are
    told.
    **Args** `actor` is `user:<email>`, `token:<email>` or `system:<what>`; `now` is aware, by
    default the clock's.
    **Raises** `NestedWrite` when the block opened another ledger write.
    """
    with transaction.atomic():
        head = _lock_head()
        write = LedgerWrite(revision=head.value + 1)
        yield write
        if write.is_empty and not write.notes:
            return
        at = datetime.now(UTC) if now is None else now
        signature = {"actor": actor, "source": source, "reason": reason, "request_id": request_id}
        head_hash = _append(write, signature, at=at, prev_hash=head.head_hash)
        moved = Revision.objects.filter(id=1, value=head.value, head_hash=head.head_hash)
        if not moved.update(value=write.revision - write.is_empty, head_hash=head_hash):
            raise NestedWrite("a ledger write was begun inside another one")
        if not write.is_empty:
            transaction.on_commit(partial(feed.announce, write.revision, tuple(write.touched)))


def lock_ledger() -> None:
    """Let no other write begin until the caller's transaction ends.

    For those who read what was written so far and write by it: what they have read stays true.
    """
    _lock_head()


def _lock_head() -> Revision:
    """Lock the revision's row, which a restored or emptied database may not have any more."""
    head = Revision.objects.select_for_update().filter(id=1).first()
    if head is not None:
        return head
    last = AuditRow.objects.order_by("-id").first()
    value = max(
        AuditRow.objects.aggregate(top=Max("revision"))["top"] or 0,
        Change.objects.aggregate(top=Max("revision"))["top"] or 0,
    )
    fresh = Revision(
        id=1, value=value, pruned_to=value, head_hash=GENESIS if last is None else last.hash
    )
    Revision.objects.bulk_create([fresh], ignore_conflicts=True)
    return Revision.objects.select_for_update().get(id=1)


def _append(
    write: LedgerWrite, signature: dict[str, str | None], *, at: datetime, prev_hash: str
) -> str:
    """Store the audit rows and the changes of a write; give the new head of the chain."""
    rows = []
    own = {**signature, "revision": write.revision, "at": at}
    for fields in (*write.notes, *({**record, **own} for record in write.records)):
        chained = row_hash(prev_hash, {**fields, "at": _moment(fields["at"])})
        rows.append(AuditRow(**fields, prev_hash=prev_hash, hash=chained))
        prev_hash = chained
    AuditRow.objects.bulk_create(rows)
    Change.objects.bulk_create(
        Change(revision=write.revision, kind=kind, subject=subject, at=at)
        for kind, subject in write.touched
    )
    return prev_hash


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


@transaction.atomic
def prune_changes(
    *, now: datetime, keep: int = KEEP_CHANGES, keep_for: timedelta = KEEP_CHANGES_FOR
) -> int:
    """Forget changes older than `keep_for`, and all but the newest `keep`; give how many.

    A revision is forgotten whole, and its number is kept, so that a reader who stopped before it
    learns that it has to drop everything.
    """
    head = _lock_head()
    by_age = Change.objects.filter(at__lt=now - keep_for).aggregate(top=Max("revision"))["top"]
    surplus = Change.objects.order_by("-revision", "-id").values_list("revision", flat=True)
    by_count = surplus[keep : keep + 1].first()
    cut = max(by_age or 0, by_count or 0)
    if cut <= head.pruned_to:
        return 0
    Revision.objects.filter(id=1).update(pruned_to=cut)
    return Change.objects.filter(revision__lte=cut).delete()[0]


# -- the audit's own audit ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What walking the chain found."""

    checked: int  # rows that are as they were written
    bad_row: int | None = None  # the id of the first row that is not; None with a problem: the end
    problem: str | None = None  # None: the whole chain is as it was written
    newest_hash: str = GENESIS  # of a valid chain; whoever keeps it sees when all of it is replaced

    @property
    def is_valid(self) -> bool:
        """Whether no row was changed, removed, added or moved."""
        return self.problem is None


def verify_audit(*, chunk: int = 1000) -> AuditVerdict:
    """Walk the audit from its first row to its head and name the first bad row.

    Writes may go on meanwhile: the walk ends when it has reached the head of that moment.
    """
    prev_hash, last_id, checked = GENESIS, 0, 0
    while True:
        # Read before the rows: a head with no row after it has to be the last row's hash.
        head = Revision.objects.filter(id=1).values_list("head_hash", flat=True).first()
        rows = list(AuditRow.objects.filter(id__gt=last_id).order_by("id")[:chunk])
        if not rows:
            return _verdict_at_end(prev_hash, head or GENESIS, checked)
        for row in rows:
            problem = _problem_of(row, prev_hash)
            if problem:
                return AuditVerdict(checked, bad_row=row.id, problem=problem)
            prev_hash, last_id, checked = row.hash, row.id, checked + 1


def _verdict_at_end(prev_hash: str, head: str, checked: int) -> AuditVerdict:
    if prev_hash == head:
        return AuditVerdict(checked, newest_hash=head)
    last = AuditRow.objects.filter(hash=head).first() if head else None
    if last is None and head:
        return AuditVerdict(checked, problem="the newest rows are missing")
    added = AuditRow.objects.filter(id__gt=0 if last is None else last.id).order_by("id")
    good = checked - added.count()
    return AuditVerdict(
        good, bad_row=added[0].id, problem="it was added by hand, after the last write"
    )


def _problem_of(row: AuditRow, prev_hash: str) -> str | None:
    if row.prev_hash != prev_hash:
        return "a row before it is missing, or it was added or moved by hand"
    fields = {name: getattr(row, name) for name in _HASHED} | {"at": _moment(row.at)}
    return None if row_hash(prev_hash, fields) == row.hash else "its content was changed"
