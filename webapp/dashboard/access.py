"""Who may see which organization: staff every one, members theirs, and for all others it is not."""

from __future__ import annotations

from typing import Final, NamedTuple

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from deployments.deployment_views import EnvironmentScope
from ledger.ids import new_id
from tenants.origin import Origin
from tenants.people_selectors import find_role
from tenants.permissions import LEAST_ROLE, Action, Standing
from tenants.selectors import (
    EnvironmentView,
    OrganizationDetail,
    OrganizationView,
    ProjectView,
    find_first_organization,
    get_organization_by_slug,
)
from tenants.words import EnvironmentType

SOURCE: Final = "dashboard"
MAX_REQUEST_ID: Final = 200
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

    @property
    def is_paused(self) -> bool:
        """Whether none of them is handed anything new."""
        return all(environment.paused for environment in self.environments)


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


def scope_in(place: Place, environment_id: str) -> EnvironmentScope:
    """Give one of the place's environments as services take it."""
    environment = next(one for one in place.current.environments if one.id == environment_id)
    project = next(one for one in place.projects if one.id == environment.project_id)
    return EnvironmentScope(
        environment_id=environment.id,
        project_id=project.id,
        project_ref=project.ref,
        organization_id=place.organization.id,
    )


def standing_in(place: Place) -> Standing:
    """Give what the viewer is in the place's organization. One query, none for staff."""
    viewer = place.viewer
    if viewer.is_staff:
        return Standing(None, is_staff=True)
    return Standing(find_role(user_id=viewer.id, organization_id=place.organization.id))


def require(place: Place, action: Action) -> Standing:
    """Give the viewer's standing, or raise `PermissionDenied` when it does not reach so far."""
    standing = standing_in(place)
    if not standing.may(action):
        least = LEAST_ROLE[action]
        raise PermissionDenied(f"This takes the role {least} in {place.organization.title}.")
    return standing


def origin_for(request: HttpRequest) -> Origin:
    """Give what the ledger records about a write of this request."""
    asked = request.headers.get("x-request-id", "").strip()[:MAX_REQUEST_ID]
    return Origin(
        actor=f"user:{viewer_of(request).email}",
        source=SOURCE,
        request_id=asked or new_id("req"),
    )


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
