"""Writes of organizations, projects, environments, people and memberships.

Every function goes through one ledger write; writers wait for each other there, so what is read
inside it is true until it commits. Nothing here records a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

from django.utils.text import slugify
from pydantic.alias_generators import to_camel

from ledger.changes import ENVIRONMENT, ORGANIZATION
from ledger.ids import new_id
from ledger.services import LedgerWrite, ledger_write
from tenants.errors import Invalid, NotFound, Problem
from tenants.freshness import check_fresh
from tenants.members import write_membership
from tenants.models import Environment, Organization, User
from tenants.projects import NewEnvironment, add_project
from tenants.selectors import (
    EnvironmentView,
    OrganizationView,
    ProjectView,
    view_environment,
    view_organization,
)
from tenants.words import Plan, PlanSource, Role

if TYPE_CHECKING:
    from datetime import datetime

    from tenants.origin import Origin

MAX_CONCURRENCY = 1_000_000
_CHANGEABLE = ("title", "plan", "plan_at", "plan_source", "has_access", "limits")


class NewOrganization(NamedTuple):
    """A new tenant: one project and its environments."""

    organization: OrganizationView
    project: ProjectView
    environments: tuple[NewEnvironment, ...]


class OrganizationChanges(TypedDict, total=False):
    """What may be changed; a missing key stays as it is."""

    title: str
    plan: str | None
    has_access: bool  # false: out of credits
    limits: dict[str, int] | None


class EnvironmentChanges(TypedDict, total=False):
    """What may be changed; a missing key stays as it is."""

    concurrency_limit: int  # runs executing at once, 0 to `MAX_CONCURRENCY`
    paused: bool


def create_organization(
    *,
    title: str,
    plan: str | None,
    now: datetime,
    plan_source: PlanSource = PlanSource.STAFF,
    **origin: Unpack[Origin],
) -> NewOrganization:
    """Create a tenant with one project and its development, staging and production environments.

    Raise `Invalid` for a plan that is none of `Plan`.
    """
    _check_plan(plan)
    with ledger_write(**origin) as write:
        organization = Organization.objects.create(
            id=new_id("org"),
            title=title,
            slug=_free_slug(title),
            plan=plan,
            plan_at=None if plan is None else now,
            plan_source=None if plan is None else plan_source,
            created_at=now,
        )
        created = {"title": title, "slug": organization.slug, "plan": plan}
        _record(write, organization, "created", None, created)
        made = add_project(write, organization, name=title, slug=organization.slug, now=now)
        write.touch(ORGANIZATION, organization.id)
    return NewOrganization(view_organization(organization), made.project, made.environments)


def update_organization(
    organization_id: str,
    changes: OrganizationChanges,
    *,
    now: datetime,
    plan_source: PlanSource = PlanSource.STAFF,
    expected_revision: int | None = None,
    **origin: Unpack[Origin],
) -> OrganizationView:
    """Change the title, the plan or the access; a plan keeps when and by whom it was last changed.

    Raise `NotFound` for an unknown organization, `Invalid` for an unknown plan, `StaleRevision`
    when what changes was changed after `expected_revision`.
    """
    _check_plan(changes.get("plan"))
    with ledger_write(**origin) as write:
        row = _get_organization(organization_id)
        scope = f"organization:{row.id}"
        keys = [to_camel(name) for name in changes]
        check_fresh(scope=scope, org=row.id, keys=keys, expected_revision=expected_revision)
        if "title" in changes and changes["title"] != row.title:
            _record(write, row, "title", row.title, changes["title"])
            row.title = changes["title"]
        if "plan" in changes and changes["plan"] != row.plan:
            _record(write, row, "plan", row.plan, changes["plan"])
            row.plan, row.plan_at, row.plan_source = changes["plan"], now, plan_source
        if "has_access" in changes:
            _record(write, row, "hasAccess", row.has_access, changes["has_access"])
            row.has_access = changes["has_access"]
        if "limits" in changes:
            _record(write, row, "limits", row.limits, changes["limits"])
            row.limits = changes["limits"]
        if not write.is_empty:
            row.save(update_fields=_CHANGEABLE)
            write.touch(ORGANIZATION, row.id)
    return view_organization(row)


def update_environment(
    environment_id: str, changes: EnvironmentChanges, **origin: Unpack[Origin]
) -> EnvironmentView:
    """Change how much an environment may run at once, or whether it is handed anything new.

    Raise `NotFound` for an unknown environment, `Invalid` for a limit out of range.
    """
    limit = changes.get("concurrency_limit", 0)
    if not 0 <= limit <= MAX_CONCURRENCY:
        message = f"a whole number from 0 to {MAX_CONCURRENCY}"
        raise Invalid("concurrencyLimit is out of range", (Problem("concurrencyLimit", message),))
    with ledger_write(**origin) as write:
        row = Environment.objects.filter(id=environment_id).first()
        if row is None:
            raise NotFound("Environment not found")
        scope = f"environment:{row.id}"
        for name, new in changes.items():
            old, key = getattr(row, name), to_camel(name)
            write.record(scope=scope, key=key, old=old, new=new, org=row.organization_id)
            setattr(row, name, new)
        if not write.is_empty:
            row.save(update_fields=["concurrency_limit", "paused"])
            write.touch(ENVIRONMENT, row.id)
    return view_environment(row)


def create_user(
    *,
    email: str,
    password: str | None,
    name: str = "",
    is_staff: bool = False,
    now: datetime,
    **origin: Unpack[Origin],
) -> str:
    """Create a person and give their id; None as password means they cannot log in with one.

    Raise `Invalid` when someone has this email already.
    """
    email = email.strip().lower()
    with ledger_write(**origin) as write:
        if User.objects.filter(email=email).exists():
            raise Invalid("email is taken", (Problem("email", "someone has this email already"),))
        user = User(id=new_id("user"), email=email, name=name, is_staff=is_staff, created_at=now)
        user.set_password(password)
        user.save(force_insert=True)
        created = {"email": email, "isStaff": is_staff}
        write.record(scope=f"user:{user.id}", key="created", old=None, new=created)
    return user.id


def set_password(user_id: str, password: str, **origin: Unpack[Origin]) -> None:
    """Change what a person logs in with, or raise `NotFound`."""
    with ledger_write(**origin) as write:
        user = _get_user(user_id)
        if user.check_password(password):
            return
        user.set_password(password)
        user.save(update_fields=["password"])
        write.record(scope=f"user:{user_id}", key="password", old=None, new="changed")


def set_membership(
    *,
    user_id: str,
    organization_id: str,
    role: Role | None,
    now: datetime,
    **origin: Unpack[Origin],
) -> None:
    """Make a person a member in this role, or with None no member.

    Raise `NotFound` for unknown ones, `LastOwner` when no owner would be left.
    """
    with ledger_write(**origin) as write:
        user, organization = _get_user(user_id), _get_organization(organization_id)
        write_membership(write, user=user, organization=organization, role=role, now=now)


def _record(
    write: LedgerWrite, organization: Organization, key: str, old: object, new: object
) -> None:
    scope = f"organization:{organization.id}"
    write.record(scope=scope, key=key, old=old, new=new, org=organization.id)


def _free_slug(title: str) -> str:
    """Give a slug nobody has. Writers wait for each other, so it is still free when stored."""
    slug = slugify(title)[:60] or "organization"
    if not Organization.objects.filter(slug=slug).exists():
        return slug
    return f"{slug}-{new_id('')[-10:]}"


def _check_plan(plan: str | None) -> None:
    if plan is not None and plan not in Plan.values:
        message = f"one of {', '.join(Plan.values)} or null"
        raise Invalid("plan is unknown", (Problem("plan", message),))


def _get_organization(organization_id: str) -> Organization:
    row = Organization.objects.filter(id=organization_id).first()
    if row is None:
        raise NotFound("Organization not found")
    return row


def _get_user(user_id: str) -> User:
    row = User.objects.filter(id=user_id).first()
    if row is None:
        raise NotFound("User not found")
    return row
