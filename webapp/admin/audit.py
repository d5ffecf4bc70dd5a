"""The pages of the audit: who changed what, from what to what, why; and undoing one change."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.contrib import messages
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from flags.catalog import MIGRATION_ENABLED
from flags.enrollment import DIALS
from flags.stored import GLOBAL
from ledger.registry import LoadFailed
from ledger.selectors import UnknownAuditRow, get_audit_row, list_audit
from rollout.proposal import preview_global_flags
from rollout.reverting import refusal_for, revert_change
from tenants.errors import Conflict, Invalid, NotFound, Refused
from tenants.staff_selectors import find_organization
from webapp.admin.filters import text_filter
from webapp.admin.pages import crumb, older, origin_of, page
from webapp.admin.previews import consequence_of
from webapp.admin.tables import SHORT_ID, Cell, Table, act, at, code, facts, number
from webapp.dashboard.answers import see_other

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from ledger.selectors import AuditEntry
    from webapp.admin.previews import Consequence

log = structlog.get_logger(__name__)

HEADERS: Final = (
    "When",
    "Who",
    "What",
    "Key",
    "Change",
    "Reason",
    "Revision",
    "Undo",
)
MAX_SHOWN: Final = 120  # characters of a value; the whole of it is shown on hover
MAX_BUTTON: Final = 40  # characters of a value on a button
LATER: Final = 20  # changes of the same key that are looked through
NOT_SINCE: Final = "It was not changed since."
MAX_ID: Final = 2**63 - 1
MOVING: Final = frozenset({MIGRATION_ENABLED, *DIALS.values()})
"""Flags for everyone whose change may move many organizations at once."""


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


@require_http_methods(["GET", "HEAD", "POST"])
def detail(request: HttpRequest, audit_id: str) -> HttpResponse:
    """Show one change, and revert it: the value before is written again, by whoever is here."""
    row = _get(audit_id)
    if request.method != "POST":
        return _detail(request, row)
    try:
        revision = revert_change(row.id, now=datetime.now(UTC), origin=origin_of(request, ""))
    except (Conflict, Refused) as error:
        status = 409 if isinstance(error, Conflict) else 422
        return _detail(
            request, row, problem=f"{str(error).rstrip('.')}. Nothing was reverted.", status=status
        )
    said = f"{row.key} is {_value(row.old)} again, at revision {revision}."
    messages.success(request, said)
    return see_other(reverse("admin:audit"))


def _get(audit_id: str) -> AuditEntry:
    found = _row_id(audit_id)
    try:
        return get_audit_row(found or 0)
    except UnknownAuditRow as error:
        raise NotFound("Audit row not found") from error


def _detail(
    request: HttpRequest, row: AuditEntry, *, problem: str = "", status: int = 200
) -> HttpResponse:
    now = datetime.now(UTC)
    same_key = list_audit(key=row.key, org=row.org, limit=LATER).rows
    later = [one for one in same_key if one.scope == row.scope and one.id > row.id]
    consequence = None if later or not _moves_organizations(row) else _foreseen(row)
    return page(
        request,
        "change.html",
        title=f"Change {row.id}",
        crumbs=(crumb("Audit", "audit"),),
        status=status,
        problem=problem,
        facts=facts(
            {
                "When": at(row.at, now),
                "Who": Cell(row.actor),
                "What": _what(row),
                "Key": code(row.key),
                "Before": code(_value(row.old)),
                "After": code(_value(row.new)),
                "Reason": Cell(row.reason or ""),
                "Through": Cell(row.source),
                "Request": code(row.request_id),
                "Revision": number(row.revision),
            }
        ),
        refusal=refusal_for(row),
        consequence=consequence,
        pauses=(),
        button=(consequence and consequence.button) or f"Set {row.key} back to {_short(row.old)}",
        later=Table("later", HEADERS, tuple(audit_row(one, now) for one in later), NOT_SINCE),
    )


def _moves_organizations(row: AuditEntry) -> bool:
    """Tell whether going back may move many: then who moves is shown before."""
    return row.scope == GLOBAL and row.key in MOVING and not refusal_for(row)


def _foreseen(row: AuditEntry) -> Consequence | None:
    """Work out who would move. The page is there, and works, whatever becomes of the question."""
    try:
        return consequence_of(preview_global_flags({row.key: row.old}))
    except (LoadFailed, Invalid) as error:
        log.warning("revert.unforeseen", error=repr(error.__cause__ or error))
        return None


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
        _undo(row),
    )


def _undo(row: AuditEntry) -> Cell:
    """Give the button that reverts a change, or why there is none."""
    address = reverse("admin:audit_row", args=[row.id])
    refusal = refusal_for(row)
    if refusal:
        return Cell("no", tone="idle", href=address, title=refusal)
    title = f"Set {row.key} back to {_short(row.old)}"
    if _moves_organizations(row):
        return Cell("Revert…", href=address, title=f"{title}; it is shown first who moves")
    return act("Revert", address, title=title)


def _what(row: AuditEntry) -> Cell:
    kind, _, subject = row.scope.partition(":")
    names = {"organization": "admin:organization", "worker_group": "admin:group"}
    href = reverse(names[kind], args=[subject]) if kind in names and subject else ""
    text = f"{kind} {subject[-SHORT_ID:]}" if subject else kind
    return Cell(text.replace("_", " "), "code", href=href, title=row.scope)


def _value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _short(value: Any) -> str:
    text = _value(value)
    return text if len(text) <= MAX_BUTTON else f"{text[:MAX_BUTTON]}…"


def _cut(text: str) -> Cell:
    if len(text) <= MAX_SHOWN:
        return Cell(text, "prose")
    return Cell(f"{text[:MAX_SHOWN]}…", "prose", title=text)
