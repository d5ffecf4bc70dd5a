"""Things that tests need, made by the same services that make them in earnest."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from deployments.worker_groups import GroupFields, NewWorkerGroup, create_worker_group
from tenants.keys import create_personal_access_token
from tenants.origin import Origin
from tenants.services import create_organization, create_user, set_membership
from tenants.words import Role

if TYPE_CHECKING:
    from tenants.selectors import EnvironmentView, OrganizationView, ProjectView

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ORIGIN = Origin(actor="system:test", source="test")

_numbers = itertools.count(1)


class Tenant(NamedTuple):
    """An organization with its project, and its environments and keys by slug."""

    organization: OrganizationView
    project: ProjectView
    environments: dict[str, EnvironmentView]
    keys: dict[str, str]
    key_ids: dict[str, str]


class PersonWithToken(NamedTuple):
    """A person and the token they present."""

    id: str
    email: str
    token: str


def make_tenant(*, title: str | None = None, plan: str | None = "free") -> Tenant:
    """Make an organization with a project and three environments."""
    made = create_organization(
        title=title or f"Tenant {next(_numbers)}", plan=plan, now=NOW, **ORIGIN
    )
    by_slug = {new.environment.slug: new for new in made.environments}
    return Tenant(
        made.organization,
        made.project,
        {slug: new.environment for slug, new in by_slug.items()},
        {slug: new.key.plaintext for slug, new in by_slug.items()},
        {slug: new.key.id for slug, new in by_slug.items()},
    )


def make_person(
    *, is_staff: bool = False, member_of: str | None = None, role: Role = Role.MEMBER
) -> PersonWithToken:
    """Make a person with a token, a member of the organization `member_of` if it is given."""
    email = f"person{next(_numbers)}@example.com"
    user_id = create_user(
        email=email, password=None, name="Person", is_staff=is_staff, now=NOW, **ORIGIN
    )
    if member_of is not None:
        set_membership(user_id=user_id, organization_id=member_of, role=role, now=NOW, **ORIGIN)
    token = create_personal_access_token(user_id=user_id, name="test", now=NOW, **ORIGIN)
    return PersonWithToken(user_id, email, token.plaintext)


def make_worker_group(
    *,
    name: str | None = None,
    project_ref: str | None = None,
    make_default: bool = False,
    fields: GroupFields | None = None,
) -> NewWorkerGroup:
    """Make a worker group, shared unless a project is named."""
    return create_worker_group(
        name=name or f"group-{next(_numbers)}",
        fields=fields or {},
        project_ref=project_ref,
        make_default=make_default,
        now=NOW,
        **ORIGIN,
    )
