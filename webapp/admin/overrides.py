"""The page of overrides: which organizations have their own values, and what is in effect."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.urls import reverse
from django.views.decorators.http import require_safe

from flags.catalog import CATALOG, Scope, is_allowed
from flags.raw_selectors import list_overridden_ids, list_stored_overrides
from flags.selectors import get_global_values
from tenants.selectors import list_organizations
from tenants.staff_selectors import find_organizations
from webapp.admin.filters import choice_filter, text_filter
from webapp.admin.flag_values import NOT_SET, value_text
from webapp.admin.pages import older, page
from webapp.admin.tables import Cell, Table, at, code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest, HttpResponse

    from flags.catalog import FlagSpec
    from flags.raw_selectors import StoredOverride
    from tenants.selectors import OrganizationView

HEADERS: Final = ("Organization", "Plan", "Flag", "Override", "In effect", "From", "Changed")
HONOURED: Final = tuple(
    sorted(key for key, spec in CATALOG.items() if spec.scope is Scope.ORGANIZATION)
)
"""The flags an organization may have a value of its own for; no other is offered."""
LEAD: Final = "An override wins over what holds for everyone, in both directions."
NONE_YET: Final = "No organization has an override. Search for one to give it its own value."
NO_MATCH: Final = "There is no such organization."


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show the organizations with overrides; those that match, with and without, in a search."""
    query = request.GET.dict()
    wanted = text_filter(query, "query", "Title, slug or id contains")
    key = choice_filter(query, "key", "Flag", HONOURED)
    keys = (key.value,) if key.value else HONOURED
    found, following = _organizations(wanted.value, keys, query.get("after"))
    stored = list_stored_overrides([row.id for row in found])
    rows = _rows(found, stored, keys, is_search=bool(wanted.value))
    return page(
        request,
        "listing.html",
        title="Overrides",
        lead=LEAD,
        filters=(wanted, key),
        table=Table("overrides", HEADERS, rows, NO_MATCH if wanted.value else NONE_YET),
        older=older(request, following),
    )


def _organizations(
    query: str, keys: Sequence[str], after: str | None
) -> tuple[list[OrganizationView], str | None]:
    """Give a page of organizations, and what the next one begins after."""
    if query:
        matching = list_organizations(query=query, after=after)
        return list(matching.rows), matching.next_after
    ids, following = list_overridden_ids(keys, after=after)
    known = find_organizations(ids)
    return [known[one] for one in ids if one in known], following


def _rows(
    organizations: Sequence[OrganizationView],
    stored: Sequence[StoredOverride],
    keys: Sequence[str],
    *,
    is_search: bool,
) -> tuple[tuple[Cell, ...], ...]:
    now, values = datetime.now(UTC), get_global_values()
    by_place = {(row.organization_id, row.key): row for row in stored}
    return tuple(
        _row(organization, CATALOG[key], row, values, now)
        for organization in organizations
        for key in keys
        if (row := by_place.get((organization.id, key))) is not None or is_search
    )


def _row(
    organization: OrganizationView,
    spec: FlagSpec,
    row: StoredOverride | None,
    values: Mapping[str, Any],
    now: datetime,
) -> tuple[Cell, ...]:
    is_valid = row is not None and is_allowed(spec, row.value)
    if row is not None and is_valid:
        effective, source = row.value, "override"
    elif spec.key in values:
        effective, source = values[spec.key], "for everyone"
    else:
        effective, source = spec.default, "default"
    href = f"{reverse('admin:organization_flags', args=[organization.id])}#{spec.key}"
    return (
        Cell(organization.title, href=href, title=organization.slug),
        Cell(organization.plan or "unknown", tone="" if organization.plan else "idle"),
        code(spec.key),
        _stored(spec, row, is_valid=is_valid),
        Cell(value_text(spec, effective)),
        Cell(source),
        at(None if row is None else row.updated_at, now),
    )


def _stored(spec: FlagSpec, row: StoredOverride | None, *, is_valid: bool) -> Cell:
    if row is None:
        return Cell(NOT_SET, tone="idle")
    if is_valid:
        return Cell(value_text(spec, row.value))
    return Cell(f"invalid, ignored: {json.dumps(row.value)}", "prose", "bad")
