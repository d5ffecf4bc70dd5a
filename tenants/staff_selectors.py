"""Reads across tenants, for staff only. Only frozen values leave this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db import connection
from django.db.models import Q

from tenants.models import Environment, Organization
from tenants.selectors import (
    PAGE_SIZE,
    EnvironmentView,
    OrganizationView,
    view_environment,
    view_organization,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class EnvironmentPlace(NamedTuple):
    """An environment with whose it is."""

    environment: EnvironmentView
    organization: OrganizationView
    project_ref: str


class EnvironmentPage(NamedTuple):
    """Environments, newest first."""

    rows: tuple[EnvironmentPlace, ...]
    next_after: str | None  # pass as `after` for the next page; None: this is the last one


def find_organization(name: str) -> OrganizationView | None:
    """Find an organization by its id or slug."""
    row = Organization.objects.filter(Q(id=name) | Q(slug=name)).first()
    return None if row is None else view_organization(row)


def find_organizations(ids: Iterable[str]) -> dict[str, OrganizationView]:
    """Find organizations by their ids; unknown ones are left out. One query."""
    rows = Organization.objects.filter(id__in=set(ids))
    return {row.id: view_organization(row) for row in rows}


def list_titles(organization_ids: Iterable[str]) -> dict[str, str]:
    """Give the titles of these organizations by their ids; unknown ones are left out. One query.

    There may be thousands: they travel as one array.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, title FROM tenants_organization WHERE id = ANY (%s)",
            [list(organization_ids)],
        )
        return dict(cursor.fetchall())


def list_environment_ids(organization_id: str) -> Sequence[str]:
    """Give the environments of an organization, those of every project."""
    rows = Environment.objects.filter(organization_id=organization_id)
    return list(rows.order_by("id").values_list("id", flat=True))


def list_environment_places(
    *, organization_id: str | None = None, after: str | None = None, limit: int = PAGE_SIZE
) -> EnvironmentPage:
    """Give environments newest first; with `organization_id` only those of one organization."""
    found = Environment.objects.select_related("organization", "project").order_by("-id")
    if organization_id is not None:
        found = found.filter(organization_id=organization_id)
    if after is not None:
        found = found.filter(id__lt=after)
    rows = tuple(_place(row) for row in found[: limit + 1])
    last = rows[limit - 1].environment.id if len(rows) > limit else None
    return EnvironmentPage(rows[:limit], last)


def find_environment_places(environment_ids: Iterable[str]) -> dict[str, EnvironmentPlace]:
    """Find whose these environments are, by their ids; unknown ones are left out. One query."""
    found = Environment.objects.select_related("organization", "project")
    return {row.id: _place(row) for row in found.filter(id__in=set(environment_ids))}


def _place(row: Environment) -> EnvironmentPlace:
    return EnvironmentPlace(
        view_environment(row), view_organization(row.organization), row.project.ref
    )
