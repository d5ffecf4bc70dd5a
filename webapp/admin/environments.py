"""The page of environments, to read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.urls import reverse
from django.views.decorators.http import require_safe

from tenants.staff_selectors import find_organization, list_environment_places
from webapp.admin.filters import UNKNOWN_ORGANIZATION, Filter
from webapp.admin.pages import older, page
from webapp.admin.tables import Cell, Table, at, code, number

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tenants.staff_selectors import EnvironmentPlace

HEADERS: Final = (
    "Environment",
    "Organization",
    "Project",
    "Runs at once",
    "Paused",
    "Created",
    "Id",
)
EMPTY: Final = "There is no such environment."


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show environments, newest first."""
    asked, now = request.GET.get("organization", "").strip(), datetime.now(UTC)
    organization = find_organization(asked) if asked else None
    wrong = UNKNOWN_ORGANIZATION if asked and organization is None else ""
    organization_id = asked if organization is None else organization.id
    found = list_environment_places(
        organization_id=organization_id or None, after=request.GET.get("after")
    )
    return page(
        request,
        "listing.html",
        title="Environments",
        table=Table("environments", HEADERS, tuple(_row(row, now) for row in found.rows), EMPTY),
        filters=(Filter("organization", "Organization", asked, problem=wrong),),
        older=older(request, found.next_after),
    )


def _row(place: EnvironmentPlace, now: datetime) -> tuple[Cell, ...]:
    row, organization = place.environment, place.organization
    return (
        Cell(row.slug, href=f"{reverse('admin:runs')}?environment={row.id}"),
        Cell(organization.title, href=reverse("admin:organization", args=[organization.id])),
        code(place.project_ref),
        number(row.concurrency_limit),
        Cell("paused", "word", "warn") if row.paused else Cell("no"),
        at(row.created_at, now),
        code(row.id),
    )
