"""The first page of the admin: what is set for everyone, and what was changed last."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.views.decorators.http import require_safe

from flags.catalog import CATALOG
from flags.selectors import get_global_values
from ledger.selectors import current_revision, list_audit
from webapp.admin.audit import HEADERS, audit_row
from webapp.admin.flag_targets import shown_value
from webapp.admin.pages import page
from webapp.admin.tables import Cell, Table, code

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

LAST_CHANGES: Final = 10


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """Show what is set for everyone, and the newest changes."""
    now, values = datetime.now(UTC), sorted(get_global_values().items())
    rows = tuple((code(key), Cell(shown_value(CATALOG[key], value))) for key, value in values)
    changes = list_audit(limit=LAST_CHANGES).rows
    return page(
        request,
        "overview.html",
        title="Overview",
        revision=current_revision(),
        flags=Table("flags", ("Flag", "Value"), rows, "No flag is set: every default holds."),
        changes=Table("changes", HEADERS, tuple(audit_row(row, now) for row in changes), "None."),
    )
