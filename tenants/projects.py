"""Writes of projects: each is made with its development, staging and production environments."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, NamedTuple, Unpack

from django.utils.text import slugify

from ledger.changes import ORGANIZATION
from ledger.ids import new_id
from ledger.services import LedgerWrite, ledger_write
from tenants.errors import Conflict, Invalid, NotFound, Problem
from tenants.keys import NewKey, add_key
from tenants.models import Environment, Organization, Project
from tenants.selectors import EnvironmentView, ProjectView, view_environment, view_project
from tenants.words import ENVIRONMENT_SLUGS, EnvironmentType

if TYPE_CHECKING:
    from datetime import datetime

    from tenants.origin import Origin

FIRST_ENVIRONMENTS = (
    EnvironmentType.DEVELOPMENT,
    EnvironmentType.STAGING,
    EnvironmentType.PRODUCTION,
)
MAX_PROJECTS = 100  # of an organization
MAX_NAME = 200
MAX_SLUG = 60
REF_CHARS = 20
_REF_ALPHABET = string.ascii_lowercase + string.digits


class NewEnvironment(NamedTuple):
    """An environment with its key, which is shown this once."""

    environment: EnvironmentView
    key: NewKey


class NewProject(NamedTuple):
    """A new project and its environments."""

    project: ProjectView
    environments: tuple[NewEnvironment, ...]


def create_project(
    organization_id: str, *, name: str, now: datetime, **origin: Unpack[Origin]
) -> NewProject:
    """Give an organization another project with its three environments and their keys.

    Raise `NotFound` for an unknown organization, `Invalid` for a name that is empty or too long,
    `Conflict` when the organization has a project of this name, or as many as it may have.
    """
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME:
        message = f"a name of 1 to {MAX_NAME} characters"
        raise Invalid("name is wrong", (Problem("name", message),))
    with ledger_write(**origin) as write:
        organization = Organization.objects.filter(id=organization_id).first()
        if organization is None:
            raise NotFound("Organization not found")
        slug = _free_slug(organization, name)
        made = add_project(write, organization, name=name, slug=slug, now=now)
        new = {"name": name, "slug": slug, "ref": made.project.ref}
        scope = f"project:{made.project.id}"
        write.record(scope=scope, key="created", old=None, new=new, org=organization.id)
        write.touch(ORGANIZATION, organization.id)
    return made


def create_environment(
    project_id: str, *, kind: str, now: datetime, **origin: Unpack[Origin]
) -> NewEnvironment:
    """Give a project the environment it was not made with, preview, and its key.

    Raise `NotFound` for an unknown project, `Conflict` for another kind and when it has one.
    """
    if kind != EnvironmentType.PREVIEW:
        raise Conflict("only a preview environment can be added")
    with ledger_write(**origin) as write:
        project = Project.objects.select_related("organization").filter(id=project_id).first()
        if project is None:
            raise NotFound("Project not found")
        if Environment.objects.filter(project=project, type=kind).exists():
            raise Conflict(f"{project.name} has a preview environment already")
        made = _add_environment(write, project, EnvironmentType.PREVIEW, now)
        new = {"type": kind, "project": project.id}
        org = project.organization_id
        scope = f"environment:{made.environment.id}"
        write.record(scope=scope, key="created", old=None, new=new, org=org)
        write.touch(ORGANIZATION, org)
    return made


def add_project(
    write: LedgerWrite, organization: Organization, *, name: str, slug: str, now: datetime
) -> NewProject:
    """Store a project with its environments and their keys as part of `write`."""
    ref = "proj_" + "".join(secrets.choice(_REF_ALPHABET) for _ in range(REF_CHARS))
    project = Project.objects.create(
        id=new_id("proj"), ref=ref, name=name, slug=slug, organization=organization, created_at=now
    )
    environments = tuple(_add_environment(write, project, kind, now) for kind in FIRST_ENVIRONMENTS)
    return NewProject(view_project(project), environments)


def _add_environment(
    write: LedgerWrite, project: Project, kind: EnvironmentType, now: datetime
) -> NewEnvironment:
    environment = Environment.objects.create(
        id=new_id("env"),
        organization=project.organization,
        project=project,
        type=kind,
        slug=ENVIRONMENT_SLUGS[kind],
        created_at=now,
    )
    return NewEnvironment(view_environment(environment), add_key(write, environment, now))


def _free_slug(organization: Organization, name: str) -> str:
    """Give the slug of a name. Writers wait for each other, so it is still free when stored."""
    slug = slugify(name)[:MAX_SLUG] or "project"
    projects = Project.objects.filter(organization=organization)
    if projects.filter(slug=slug).exists():
        raise Conflict(f"There is a project called {slug} already")
    if projects.count() >= MAX_PROJECTS:
        raise Conflict(f"An organization has at most {MAX_PROJECTS} projects")
    return slug
