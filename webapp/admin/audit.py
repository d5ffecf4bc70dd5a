"""The page of the audit: who changed what, from what to what, why. To read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.urls import reverse
from django.views.decorators.http import require_safe

from ledger.selectors import list_audit
from tenants.staff_selectors import find_organization
from webapp.admin.filters import text_filter
from webapp.admin.pages import older, page
from webapp.admin.tables import SHORT_ID, Cell, Table, at, code, number

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from ledger.selectors import AuditEntry

HEADERS: Final = (
    "When",
    "Who",
    "What",
    "Key",
    "Change",
    "Reason",
    "Revision",
)
MAX_SHOWN: Final = 120  # characters of a value; the whole of it is shown on hover
MAX_ID: Final = 2**63 - 1


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show the rows, newest first."""
    query, now = request.GET.dict(), datetime.now(UTC)
    key, org, actor = (
        text_filter(query, "key", "Key"),
        text_filter(query, "org", "Organization"),
        text_filter(query, "actor", "Who"),
    )
    organization = find_organization(org.value) if org.value else None
    found = list_audit(
        key=key.value or None,
        org=(org.value if organization is None else organization.id) or None,
        actor=_actor(actor.value) or None,
        after=_row_id(query.get("after", "")),
    )
    return page(
        request,
        "listing.html",
        title="Audit",
        table=Table(
            "audit", HEADERS, tuple(audit_row(row, now) for row in found.rows), "No such row."
        ),
        filters=(key, org, actor),
        older=older(request, found.next_after),
    )


def _actor(text: str) -> str:
    """Give the actor of an email that somebody typed; what has a kind is taken as it is."""
    return text if not text or ":" in text else f"user:{text.lower()}"


def _row_id(text: str) -> int | None:
    is_id = text.isascii() and text.isdecimal() and int(text) <= MAX_ID
    return int(text) if is_id else None


def audit_row(row: AuditEntry, now: datetime) -> tuple[Cell, ...]:
    """Give one changed key as the cells of `HEADERS`."""
    return (
        at(row.at, now),
        Cell(row.actor, "prose", title=f"{row.source}, request {row.request_id or 'unknown'}"),
        _what(row),
        code(row.key),
        _cut(f"{_value(row.old)} → {_value(row.new)}"),
        Cell(row.reason or "", "prose"),
        number(row.revision),
    )


def _what(row: AuditEntry) -> Cell:
    kind, _, subject = row.scope.partition(":")
    names = {"organization": "admin:organization", "worker_group": "admin:group"}
    href = reverse(names[kind], args=[subject]) if kind in names and subject else ""
    text = f"{kind} {subject[-SHORT_ID:]}" if subject else kind
    return Cell(text.replace("_", " "), "code", href=href, title=row.scope)


def _value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> Cell:
    if len(text) <= MAX_SHOWN:
        return Cell(text, "prose")
    return Cell(f"{text[:MAX_SHOWN]}…", "prose", title=text)
