"""Who may see which organization: staff every one, members theirs, and for all others it is not."""

from __future__ import annotations

from typing import Final, NamedTuple

from django.http import Http404, HttpRequest

from tenants.selectors import (
    EnvironmentView,
    OrganizationDetail,
    OrganizationView,
    ProjectView,
    find_first_organization,
    get_organization_by_slug,
)
from tenants.words import EnvironmentType

ENVIRONMENT_NAMES: Final[dict[str, str]] = {
    EnvironmentType.PRODUCTION: "Production",
    EnvironmentType.STAGING: "Staging",
    EnvironmentType.PREVIEW: "Preview",
    EnvironmentType.DEVELOPMENT: "Development",
}
"""In the order they are offered."""


class Viewer(NamedTuple):
    """The person in front of the page."""

    id: str
    email: str
    is_staff: bool

    @property
    def member_id(self) -> str | None:
        """Whose memberships bound what is seen; None: nothing does."""
        return None if self.is_staff else self.id


class EnvironmentChoice(NamedTuple):
    """The environments of one kind, which pages show as one."""

    slug: str
    name: str
    type: str
    environments: tuple[EnvironmentView, ...]  # one of each project; of previews, all


class Place(NamedTuple):
    """Where a page is: an organization and one of its kinds of environments."""

    viewer: Viewer
    organization: OrganizationView
    projects: tuple[ProjectView, ...]
    choices: tuple[EnvironmentChoice, ...]  # what one may switch to
    current: EnvironmentChoice

    @property
    def environment_ids(self) -> list[str]:
        """The environments whose runs are shown."""
        return [environment.id for environment in self.current.environments]


def viewer_of(request: HttpRequest) -> Viewer:
    """Give the person who is logged in; the view has required one."""
    user = request.user
    return Viewer(str(user.pk), user.get_username(), user.is_staff)


def place_for(request: HttpRequest, organization: str, environment: str) -> Place:
    """Give the place of two slugs; raise `NotFound` or `Http404` for one the viewer may not see."""
    viewer = viewer_of(request)
    found = get_organization_by_slug(organization, member_id=viewer.member_id)
    choices = environment_choices(found)
    for choice in choices:
        if choice.slug == environment:
            return Place(viewer, found.organization, found.projects, choices, choice)
    raise Http404


def environment_choices(detail: OrganizationDetail) -> tuple[EnvironmentChoice, ...]:
    """Give an organization's kinds of environments, production first."""
    choices = []
    for kind, name in ENVIRONMENT_NAMES.items():
        members = tuple(row for row in detail.environments if row.type == kind)
        if members:
            choices.append(EnvironmentChoice(members[0].slug, name, kind, members))
    return tuple(choices)


def first_place(viewer: Viewer) -> tuple[str, str] | None:
    """Find the slugs of the first organization and environment to show; None: there are none."""
    detail = find_first_organization(member_id=viewer.member_id)
    choices = () if detail is None else environment_choices(detail)
    if detail is None or not choices:
        return None
    return detail.organization.slug, choices[0].slug
