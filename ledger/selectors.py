"""Reads of the ledger. Only frozen values leave this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection

from ledger.changes import ChangeSet
from ledger.models import AuditRow, Revision

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

MAX_CHANGES = 10_000
PAGE_SIZE = 50
GONE_AFTER_S = 30  # without a report a replica counts as gone

# One statement, so that the revision and the changes belong to one moment. A backup that was
# restored, or a standby that took over, may lack the last revisions and give their numbers to other
# writes: either comes with another start of the server or with other files of its tables.
_CHANGES_SQL = """
SELECT head.value, head.pruned_to, change.kind, change.subject,
       extract(epoch FROM pg_postmaster_start_time()) || ' ' ||
       pg_relation_filenode('ledger_revision')
FROM ledger_revision AS head
LEFT JOIN LATERAL (
    SELECT kind, subject, revision, id FROM ledger_change
    WHERE revision > %(revision)s
    ORDER BY revision, id
    LIMIT %(limit)s
) AS change ON true
WHERE head.id = 1
ORDER BY change.revision, change.id
"""


# How long ago is told by the database's own clock, which is the one that reports are dated by.
_REPLICAS_SQL = """
SELECT process, host, pid, revision,
       age_ms + (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint, seen_at
FROM ledger_replica
WHERE seen_at > clock_timestamp() - make_interval(secs => %s)
ORDER BY process, host, pid, seen_at DESC
"""


class UnknownAuditRow(LookupError):
    """There is no audit row of this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One audit row as others see it."""

    id: int
    at: datetime
    actor: str
    source: str
    scope: str
    org: str | None
    key: str
    old: Any
    new: Any
    reason: str | None
    request_id: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Audit rows, newest first."""

    rows: tuple[AuditEntry, ...]
    next_after: int | None  # pass as `after` for the next page; None: this is the last one


class ReplicaView(NamedTuple):
    """A process that decides, as it last reported itself."""

    process: str
    host: str
    pid: int
    revision: int | None  # up to which every change is in effect there; None: not known yet
    age_ms: int | None  # of its oldest snapshot, as of now; None while one is cold
    seen_at: datetime


def list_replicas() -> list[ReplicaView]:
    """Give the processes that reported themselves in the last `GONE_AFTER_S` seconds, by name."""
    with connection.cursor() as cursor:
        cursor.execute(_REPLICAS_SQL, [GONE_AFTER_S])
        return [ReplicaView(*row) for row in cursor.fetchall()]


def current_revision() -> int:
    """Give the revision of the last committed write, 0 before the first."""
    return Revision.objects.filter(id=1).values_list("value", flat=True).first() or 0


def current_head() -> tuple[int, str]:
    """Give the revision with the hash of the audit at it: together they name one state for ever.

    The number alone does not, in a database that was restored from a backup.
    """
    head = Revision.objects.filter(id=1).values_list("value", "head_hash").first()
    return head or (0, "")


def changes_since(revision: int | None, limit: int = MAX_CHANGES) -> ChangeSet:
    """Give what changed after `revision`, all of it at one moment.

    The answer is not complete when there is more than `limit`, when the list has been pruned past
    `revision`, or when `revision` is not of this database (its backup was restored): then a reader
    has to drop everything it knows. None asks where to begin, and is never complete.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES_SQL, {"revision": revision, "limit": limit + 1})
        rows = cursor.fetchall()
    if not rows:
        return ChangeSet(revision=0, touched=(), is_complete=revision == 0)
    head, pruned_to, _, _, history = rows[0]
    if revision is None or len(rows) > limit or not pruned_to <= revision <= head:
        return ChangeSet(revision=head, touched=(), is_complete=False, history=history)
    touched = tuple((kind, subject) for _, _, kind, subject, _ in rows if kind is not None)
    return ChangeSet(revision=head, touched=touched, is_complete=True, history=history)


def get_audit_row(audit_id: int) -> AuditEntry:
    """Give one audit row, or raise `UnknownAuditRow`."""
    row = AuditRow.objects.filter(id=audit_id).first()
    if row is None:
        raise UnknownAuditRow(f"no audit row {audit_id}")
    return _entry(row)


def list_audit(
    *,
    key: str | None = None,
    org: str | None = None,
    actor: str | None = None,
    keys: Collection[str] | None = None,
    after: int | None = None,
    limit: int = PAGE_SIZE,
) -> AuditPage:
    """Give audit rows newest first; `after` is the `next_after` of the page before.

    `keys` is for several keys at once.
    """
    wanted = {"key": key, "key__in": keys, "org": org, "actor": actor, "id__lt": after}
    filters = {name: value for name, value in wanted.items() if value is not None}
    found = list(AuditRow.objects.filter(**filters).order_by("-id")[: limit + 1])
    rows = tuple(_entry(row) for row in found[:limit])
    return AuditPage(rows=rows, next_after=rows[-1].id if len(found) > limit else None)


def list_keys_changed_after(
    *, scope: str, org: str | None, keys: Iterable[str], revision: int
) -> list[str]:
    """Give those of `keys` that were changed in this scope after `revision`, sorted."""
    rows = AuditRow.objects.filter(scope=scope, org=org, key__in=list(keys), revision__gt=revision)
    return sorted(set(rows.values_list("key", flat=True)))


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        actor=row.actor,
        source=row.source,
        scope=row.scope,
        org=row.org,
        key=row.key,
        old=row.old,
        new=row.new,
        reason=row.reason,
        request_id=row.request_id,
        revision=row.revision,
    )
