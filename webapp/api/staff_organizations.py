"""What staff may do with organizations and their environments."""

from datetime import UTC, datetime
from typing import Annotated, Literal, cast

from ninja import Query
from ninja.responses import Status
from pydantic import Field

from tenants.selectors import (
    EnvironmentView,
    OrganizationDetail,
    OrganizationView,
    get_organization,
    list_organizations,
)
from tenants.services import (
    EnvironmentChanges,
    NewOrganization,
    OrganizationChanges,
    create_organization,
    update_environment,
    update_organization,
)
from tenants.words import PlanSource
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.shapes import Answer, Body, Pagination, Title, new_router

router = new_router(auth=staff_token, tags=["staff"])

PlanName = Literal["free", "paid", "enterprise"]


class NewOrganizationBody(Body):
    """A new organization; without a plan it is unknown."""

    title: Title
    plan: PlanName | None = None


class OrganizationBody(Body):
    """Changes of an organization."""

    title: Title = ""
    plan: PlanName | None = None
    has_access: bool = True


class ProjectAnswer(Answer):
    """A project of an organization."""

    id: str
    ref: str
    name: str | None = None
    slug: str | None = None


class EnvironmentAnswer(Answer):
    """An environment; `api_key` only when it was just made."""

    id: str
    type: str
    slug: str
    api_key: str | None = None
    concurrency_limit: int | None = None
    paused: bool | None = None


class CreatedOrganization(Answer):
    """A new organization with its keys, which appear this once."""

    id: str
    slug: str
    title: str
    plan: str | None = None
    project: ProjectAnswer
    environments: list[EnvironmentAnswer]


class OrganizationAnswer(Answer):
    """An organization; the lists only when it was asked for by its id."""

    id: str
    slug: str
    title: str
    plan: str | None = None
    plan_at: datetime | None = None
    plan_source: str | None = None
    has_access: bool
    limits: dict[str, int] | None = None
    created_at: datetime
    projects: list[ProjectAnswer] | None = None
    environments: list[EnvironmentAnswer] | None = None


class OrganizationsAnswer(Answer):
    """A page of organizations, newest first."""

    data: list[OrganizationAnswer]
    pagination: Pagination


@router.post("/orgs", response={201: CreatedOrganization})
def post_organization(
    request: PersonRequest, body: NewOrganizationBody
) -> Status[CreatedOrganization]:
    """Create an organization with a project and its environments."""
    made = create_organization(
        title=body.title,
        plan=body.plan,
        plan_source=PlanSource.API,
        now=datetime.now(UTC),
        **origin_of(request, request.auth),
    )
    return Status(201, _created_organization(made))


@router.patch("/orgs/{organization_id}", response=OrganizationAnswer)
def patch_organization(
    request: PersonRequest, organization_id: str, body: OrganizationBody
) -> OrganizationAnswer:
    """Change an organization's title, plan or access."""
    changes = cast("OrganizationChanges", body.given())
    origin = origin_of(request, request.auth)
    changed = update_organization(
        organization_id, changes, plan_source=PlanSource.API, now=datetime.now(UTC), **origin
    )
    return _organization(changed)


@router.get("/orgs", response=OrganizationsAnswer)
def get_organizations(
    request: PersonRequest,
    query: str = "",
    after: Annotated[str | None, Query(alias="page[after]")] = None,
) -> OrganizationsAnswer:
    """List organizations, newest first."""
    page = list_organizations(query=query.strip(), after=after)
    return OrganizationsAnswer(
        data=[_organization(row) for row in page.rows],
        pagination=Pagination(next=page.next_after),
    )


@router.get("/orgs/{organization_id}", response=OrganizationAnswer)
def get_one_organization(request: PersonRequest, organization_id: str) -> OrganizationAnswer:
    """Give one organization with its projects and environments."""
    return _organization_detail(get_organization(organization_id))


class EnvironmentBody(Body):
    """Changes of an environment."""

    concurrency_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    paused: bool = False


@router.patch("/environments/{environment_id}", response=EnvironmentAnswer)
def patch_environment(
    request: PersonRequest, environment_id: str, body: EnvironmentBody
) -> EnvironmentAnswer:
    """Change how much an environment may run at once, or pause it."""
    changes = cast("EnvironmentChanges", body.given())
    origin = origin_of(request, request.auth)
    return _environment(update_environment(environment_id, changes, **origin))


def _created_organization(made: NewOrganization) -> CreatedOrganization:
    return CreatedOrganization(
        id=made.organization.id,
        slug=made.organization.slug,
        title=made.organization.title,
        plan=made.organization.plan,
        project=ProjectAnswer(id=made.project.id, ref=made.project.ref),
        environments=[
            EnvironmentAnswer(
                id=new.environment.id,
                type=new.environment.type,
                slug=new.environment.slug,
                api_key=new.key.plaintext,
            )
            for new in made.environments
        ],
    )


def _organization(row: OrganizationView) -> OrganizationAnswer:
    return OrganizationAnswer(**row._asdict())


def _organization_detail(detail: OrganizationDetail) -> OrganizationAnswer:
    return OrganizationAnswer(
        **detail.organization._asdict(),
        projects=[
            ProjectAnswer(id=row.id, ref=row.ref, name=row.name, slug=row.slug)
            for row in detail.projects
        ],
        environments=[_environment(row) for row in detail.environments],
    )


def _environment(row: EnvironmentView) -> EnvironmentAnswer:
    return EnvironmentAnswer(
        id=row.id,
        type=row.type,
        slug=row.slug,
        concurrency_limit=row.concurrency_limit,
        paused=row.paused,
    )
