"""What members may see and change of their projects."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from deployments.regions import region_name_for_group
from deployments.routing import find_default_region, set_default_region
from tenants.selectors import ProjectView, get_project_for_person
from webapp.api.auth import PersonRequest, origin_of, person_token
from webapp.api.shapes import Answer, Body, new_router

router = new_router(auth=person_token, tags=["projects"])


class DefaultRegionBody(Body):
    """The region runs go to that name none: a label, or the name of a group."""

    region: Annotated[str, Field(min_length=1, max_length=200)]


class RegionAnswer(Answer):
    """A region as customers call it."""

    id: str
    name: str


class OrganizationAnswer(Answer):
    """The organization of a project."""

    id: str
    slug: str
    title: str


class ProjectAnswer(Answer):
    """A project; `external_ref` is its ref under the name other clients know."""

    id: str
    ref: str
    external_ref: str
    name: str
    slug: str
    created_at: datetime
    organization: OrganizationAnswer
    default_region: str | None = None


@router.put("/projects/{ref}/default-region", response=RegionAnswer)
def put_default_region(request: PersonRequest, ref: str, body: DefaultRegionBody) -> RegionAnswer:
    """Choose the project's default region."""
    project = get_project_for_person(ref, request.auth)
    origin = origin_of(request, request.auth)
    group = set_default_region(project, body.region, is_staff=request.auth.is_staff, **origin)
    return RegionAnswer(id=group.id, name=region_name_for_group(group))


@router.get("/projects/{ref}", response=ProjectAnswer)
def get_one_project(request: PersonRequest, ref: str) -> ProjectAnswer:
    """Give a project with its default region."""
    project = get_project_for_person(ref, request.auth)
    return _project(project, find_default_region(project))


def _project(project: ProjectView, default_region: str | None) -> ProjectAnswer:
    return ProjectAnswer(
        id=project.id,
        ref=project.ref,
        external_ref=project.ref,
        name=project.name,
        slug=project.slug,
        created_at=project.created_at,
        organization=OrganizationAnswer(
            id=project.organization_id,
            slug=project.organization_slug,
            title=project.organization_title,
        ),
        default_region=default_region,
    )
