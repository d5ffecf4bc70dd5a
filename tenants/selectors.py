"""Reads of the tenants. Only frozen values leave this module."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from tenants.credentials import Person
from tenants.crypto import MAX_SECRET_CHARS, decrypt, hash_secret
from tenants.errors import NotFound
from tenants.models import (
    Environment,
    EnvironmentKey,
    Membership,
    Organization,
    PersonalAccessToken,
    Project,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django.db.models import QuerySet

PAGE_SIZE = 50


class EnvironmentView(NamedTuple):
    """An environment as others see it."""

    id: str
    organization_id: str
    project_id: str
    type: str
    slug: str
    concurrency_limit: int
    paused: bool
    created_at: datetime


class ProjectView(NamedTuple):
    """A project as others see it."""

    id: str
    ref: str
    name: str
    slug: str
    organization_id: str
    organization_slug: str
    organization_title: str
    created_at: datetime


class OrganizationView(NamedTuple):
    """An organization as others see it."""

    id: str
    title: str
    slug: str
    plan: str | None
    plan_at: datetime | None
    plan_source: str | None
    created_at: datetime
    has_access: bool  # false: out of credits
    limits: Mapping[str, int] | None  # as the entitlements service said them


class OrganizationDetail(NamedTuple):
    """An organization with what belongs to it."""

    organization: OrganizationView
    projects: tuple[ProjectView, ...]
    environments: tuple[EnvironmentView, ...]


class OrganizationPage(NamedTuple):
    """Organizations, newest first."""

    rows: tuple[OrganizationView, ...]
    next_after: str | None  # pass as `after` for the next page; None: this is the last one


def find_person_by_token(token: str, *, now: datetime) -> Person | None:
    """Find the active person of a personal access token that is not revoked. One query."""
    if len(token) > MAX_SECRET_CHARS:
        return None
    digest = hash_secret(token)
    row = (
        PersonalAccessToken.objects.select_related("user")
        .filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=now))
        .filter(sha256=digest, user__is_active=True)
        .first()
    )
    if row is None or not compare_digest(row.sha256, digest):
        return None
    user = row.user
    return Person(user.id, user.email, user.name, user.is_staff, row.id)


def list_organizations(
    *,
    query: str = "",
    after: str | None = None,
    limit: int = PAGE_SIZE,
    member_id: str | None = None,
) -> OrganizationPage:
    """Give organizations newest first, those whose title, slug or id contains `query`.

    With `member_id` only those that this person is a member of.
    """
    found = _organizations(member_id).order_by("-id")
    if query:
        contains = Q(title__icontains=query) | Q(slug__icontains=query) | Q(id=query)
        found = found.filter(contains)
    if after is not None:
        found = found.filter(id__lt=after)
    rows = tuple(view_organization(row) for row in found[: limit + 1])
    return OrganizationPage(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def get_organization(organization_id: str) -> OrganizationDetail:
    """Give an organization with its projects and environments, or raise `NotFound`."""
    row = Organization.objects.filter(id=organization_id).first()
    if row is None:
        raise NotFound("Organization not found")
    return _detail(row)


def _organizations(member_id: str | None) -> QuerySet[Organization]:
    """Give the organizations of a member; with None all of them."""
    if member_id is None:
        return Organization.objects.all()
    memberships = Membership.objects.filter(user_id=member_id)
    return Organization.objects.filter(id__in=memberships.values("organization_id"))


def _detail(row: Organization) -> OrganizationDetail:
    projects = Project.objects.filter(organization=row).select_related("organization")
    environments = Environment.objects.filter(organization=row).order_by("project_id", "id")
    return OrganizationDetail(
        view_organization(row),
        tuple(view_project(project) for project in projects.order_by("id")),
        tuple(view_environment(environment) for environment in environments),
    )


def get_organization_by_slug(slug: str, *, member_id: str | None) -> OrganizationDetail:
    """Give an organization with its projects and environments, as `get_organization` does.

    With `member_id` one of another tenant is `NotFound` too; None is for staff only.
    """
    row = _organizations(member_id).filter(slug=slug).first()
    if row is None:
        raise NotFound("Organization not found")
    return _detail(row)


def find_first_organization(*, member_id: str | None) -> OrganizationDetail | None:
    """Find the oldest organization that this person is a member of; with None, of all."""
    row = _organizations(member_id).order_by("id").first()
    return None if row is None else _detail(row)


def find_organization_id(slug: str) -> str | None:
    """Find an organization by its slug."""
    return Organization.objects.filter(slug=slug).values_list("id", flat=True).first()


def find_user_id(email: str) -> str | None:
    """Find a person by their email, whatever its case."""
    return User.objects.filter(email=email.lower()).values_list("id", flat=True).first()


def list_token_ids(user_id: str, *, name: str) -> list[str]:
    """Give a person's tokens of this name that are not revoked, oldest first."""
    rows = PersonalAccessToken.objects.filter(user_id=user_id, name=name, revoked_at=None)
    return list(rows.order_by("id").values_list("id", flat=True))


def get_environment(environment_id: str) -> EnvironmentView:
    """Give an environment, or raise `NotFound`."""
    row = Environment.objects.filter(id=environment_id).first()
    if row is None:
        raise NotFound("Environment not found")
    return view_environment(row)


def get_project(ref: str) -> ProjectView:
    """Give a project by its ref or id, or raise `NotFound`."""
    project = _find_project(ref)
    if project is None:
        raise NotFound("Project not found")
    return project


def get_project_for_person(ref: str, person: Person) -> ProjectView:
    """Give a project that this person may see: a member's, or any for staff.

    Raise `NotFound` for all others, which therefore cannot be told from missing ones.
    """
    project = find_project_for_person(ref, person)
    if project is None:
        raise NotFound("Project not found")
    return project


def find_project_for_person(ref: str, person: Person) -> ProjectView | None:
    """Find a project that this person may see."""
    row = _find_project(ref)
    if row is None or person.is_staff:
        return row
    memberships = Membership.objects.filter(user_id=person.id, organization_id=row.organization_id)
    return row if memberships.exists() else None


def find_environment_key(environment_id: str) -> str | None:
    """Find the plain text of an environment's current key; None when all are revoked."""
    row = EnvironmentKey.objects.filter(environment_id=environment_id, revoked_at=None).first()
    return None if row is None else decrypt(row.ciphertext)


def list_environments(project_id: str) -> Sequence[EnvironmentView]:
    """Give a project's environments in the order they were made."""
    rows = Environment.objects.filter(project_id=project_id).order_by("id")
    return [view_environment(row) for row in rows]


def _find_project(ref: str) -> ProjectView | None:
    row = Project.objects.select_related("organization").filter(Q(ref=ref) | Q(id=ref)).first()
    return None if row is None else view_project(row)


def view_organization(row: Organization) -> OrganizationView:
    """Give the value of a row."""
    return OrganizationView(
        row.id,
        row.title,
        row.slug,
        row.plan,
        row.plan_at,
        row.plan_source,
        row.created_at,
        row.has_access,
        row.limits,
    )


def view_project(row: Project) -> ProjectView:
    """Give the value of a row whose organization was read with it."""
    organization = row.organization
    return ProjectView(
        row.id,
        row.ref,
        row.name,
        row.slug,
        organization.id,
        organization.slug,
        organization.title,
        row.created_at,
    )


def view_environment(row: Environment) -> EnvironmentView:
    """Give the value of a row."""
    return EnvironmentView(
        row.id,
        row.organization_id,
        row.project_id,
        row.type,
        row.slug,
        row.concurrency_limit,
        row.paused,
        row.created_at,
    )
