"""What staff may do over HTTP: organizations, worker groups, environments, projects."""

from datetime import UTC, datetime
from typing import Annotated, Literal, cast

from django.conf import settings
from django.http import HttpRequest
from ninja import Query
from ninja.responses import Status
from pydantic import Field

from deployments.selectors import (
    WorkerGroupView,
    get_routing,
    get_worker_group,
    list_worker_groups,
)
from deployments.worker_groups import (
    GroupFields,
    RoutingChanges,
    create_worker_group,
    set_project_routing,
    update_worker_group,
)
from tenants.credentials import Person
from tenants.selectors import (
    EnvironmentView,
    OrganizationDetail,
    OrganizationView,
    ProjectView,
    get_organization,
    get_project,
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
from webapp.api.auth import origin_of, staff_token
from webapp.api.shapes import Answer, Body, Label, Name, Pagination, Text, Title, new_router

router = new_router(auth=staff_token, tags=["staff"])

PlanName = Literal["free", "paid", "enterprise"]
Workload = Literal["CONTAINER", "MICROVM"]
Priority = Annotated[int, Field(ge=-(2**31), lt=2**31)]


class StaffRequest(HttpRequest):
    """A request that passed `staff_token`."""

    auth: Person


# -- organizations --------------------------------------------------------------------------------


class NewOrganizationBody(Body):
    """A new organization; without a plan it is unknown."""

    title: Title
    plan: PlanName | None = None


class OrganizationBody(Body):
    """Changes of an organization."""

    title: Title = ""
    plan: PlanName | None = None


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
    created_at: datetime
    projects: list[ProjectAnswer] | None = None
    environments: list[EnvironmentAnswer] | None = None


class OrganizationsAnswer(Answer):
    """A page of organizations, newest first."""

    data: list[OrganizationAnswer]
    pagination: Pagination


@router.post("/orgs", response={201: CreatedOrganization})
def post_organization(
    request: StaffRequest, body: NewOrganizationBody
) -> Status[CreatedOrganization]:
    """Create an organization with a project and its environments."""
    made = create_organization(
        title=body.title, plan=body.plan, now=datetime.now(UTC), **origin_of(request, request.auth)
    )
    return Status(201, _created_organization(made))


@router.patch("/orgs/{organization_id}", response=OrganizationAnswer)
def patch_organization(
    request: StaffRequest, organization_id: str, body: OrganizationBody
) -> OrganizationAnswer:
    """Change an organization's title or plan."""
    changes = cast("OrganizationChanges", body.given())
    origin = origin_of(request, request.auth)
    changed = update_organization(organization_id, changes, now=datetime.now(UTC), **origin)
    return _organization(changed)


@router.get("/orgs", response=OrganizationsAnswer)
def get_organizations(
    request: StaffRequest,
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
def get_one_organization(request: StaffRequest, organization_id: str) -> OrganizationAnswer:
    """Give one organization with its projects and environments."""
    return _organization_detail(get_organization(organization_id))


# -- worker groups --------------------------------------------------------------------------------


class WorkerBody(Body):
    """Changes of a worker group; a missing key stays as it is."""

    workload_type: Workload = "CONTAINER"
    region: Label | None = None
    hidden: bool = False
    priority: Priority = 100
    description: Text | None = None
    location: Text | None = None
    enable_fast_path: bool = False
    make_default: bool = False


class NewWorkerBody(WorkerBody):
    """A new worker group: one project's with `projectRef`, else shared by all."""

    name: Name
    project_ref: str | None = None


class Token(Answer):
    """A secret that appears this once."""

    plaintext: str


class WorkerAnswer(Answer):
    """A worker group; `token` only when it was just made."""

    id: str
    name: str
    type: str
    master_queue: str
    region: str | None = None
    workload_type: str
    hidden: bool
    priority: int
    description: str | None = None
    location: str | None = None
    enable_fast_path: bool
    project_id: str | None = None
    has_run_history: bool
    live: bool
    supervisors: int
    last_heartbeat_at: datetime | None = None
    created_at: datetime
    token: Token | None = None


class WorkersAnswer(Answer):
    """All worker groups by priority, then name."""

    data: list[WorkerAnswer]


@router.post("/workers", response={201: WorkerAnswer})
def post_worker(request: StaffRequest, body: NewWorkerBody) -> Status[WorkerAnswer]:
    """Create a worker group; its token appears this once."""
    now = datetime.now(UTC)
    made = create_worker_group(
        name=body.name,
        fields=_group_fields(body),
        project_ref=body.project_ref,
        make_default=body.make_default,
        now=now,
        **origin_of(request, request.auth),
    )
    return Status(201, _worker(get_worker_group(made.id), now, token=made.token))


@router.patch("/workers/{group_id}", response=WorkerAnswer)
def patch_worker(request: StaffRequest, group_id: str, body: WorkerBody) -> WorkerAnswer:
    """Change a worker group."""
    now = datetime.now(UTC)
    update_worker_group(
        group_id,
        _group_fields(body),
        make_default=body.make_default,
        now=now,
        **origin_of(request, request.auth),
    )
    return _worker(get_worker_group(group_id), now)


@router.get("/workers", response=WorkersAnswer)
def get_workers(request: StaffRequest) -> WorkersAnswer:
    """List all worker groups with their liveness."""
    now = datetime.now(UTC)
    return WorkersAnswer(data=[_worker(view, now) for view in list_worker_groups()])


# -- environments and projects --------------------------------------------------------------------


class EnvironmentBody(Body):
    """Changes of an environment."""

    concurrency_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    paused: bool = False


class ProjectBody(Body):
    """Changes of where a project's runs go."""

    allowed_queues: Annotated[list[str], Field(max_length=1000)] = []
    default_worker: str | None = None


class RoutingAnswer(Answer):
    """Where a project's runs go; `default_worker` is a worker queue."""

    id: str
    ref: str
    allowed_queues: list[str]
    default_worker: str | None = None


@router.patch("/environments/{environment_id}", response=EnvironmentAnswer)
def patch_environment(
    request: StaffRequest, environment_id: str, body: EnvironmentBody
) -> EnvironmentAnswer:
    """Change how much an environment may run at once, or pause it."""
    changes = cast("EnvironmentChanges", body.given())
    origin = origin_of(request, request.auth)
    return _environment(update_environment(environment_id, changes, **origin))


@router.patch("/projects/{ref}", response=RoutingAnswer)
def patch_project(request: StaffRequest, ref: str, body: ProjectBody) -> RoutingAnswer:
    """Change which worker queues a project may use, and its default."""
    project = get_project(ref)
    changes = cast("RoutingChanges", body.given())
    set_project_routing(project, changes, **origin_of(request, request.auth))
    return _routing(project)


# -- values to answers ----------------------------------------------------------------------------


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


def _group_fields(body: WorkerBody) -> GroupFields:
    said = {"name", "project_ref", "make_default"}
    return cast("GroupFields", {k: v for k, v in body.given().items() if k not in said})


def _worker(view: WorkerGroupView, now: datetime, *, token: str | None = None) -> WorkerAnswer:
    heard_at, stale_ms = view.last_heartbeat_at, settings.ENV.backing_stale_ms
    is_live = heard_at is not None and (now - heard_at).total_seconds() * 1000 < stale_ms
    return WorkerAnswer(
        **view.row._asdict(),
        description=view.description,
        location=view.location,
        has_run_history=view.has_run_history,
        live=is_live,
        supervisors=view.supervisors,
        last_heartbeat_at=heard_at,
        created_at=view.created_at,
        token=None if token is None else Token(plaintext=token),
    )


def _routing(project: ProjectView) -> RoutingAnswer:
    routing = get_routing(project.id)
    default = routing.default_group_id
    return RoutingAnswer(
        id=project.id,
        ref=project.ref,
        allowed_queues=list(routing.allowed_queues),
        default_worker=None if default is None else get_worker_group(default).row.master_queue,
    )
