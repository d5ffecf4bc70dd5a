"""What staff may do with worker groups, and with where a project's runs go."""

from datetime import UTC, datetime
from typing import Annotated, Literal, cast

from django.conf import settings
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
from tenants.selectors import ProjectView, get_project
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.shapes import Answer, Body, Label, Name, Text, new_router

router = new_router(auth=staff_token, tags=["staff"])

Workload = Literal["CONTAINER", "MICROVM"]
Priority = Annotated[int, Field(ge=-(2**31), lt=2**31)]


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
def post_worker(request: PersonRequest, body: NewWorkerBody) -> Status[WorkerAnswer]:
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
def patch_worker(request: PersonRequest, group_id: str, body: WorkerBody) -> WorkerAnswer:
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
def get_workers(request: PersonRequest) -> WorkersAnswer:
    """List all worker groups with their liveness."""
    now = datetime.now(UTC)
    return WorkersAnswer(data=[_worker(view, now) for view in list_worker_groups()])


class ProjectBody(Body):
    """Changes of where a project's runs go."""

    allowed_queues: Annotated[list[str], Field(max_length=1000, default_factory=list)]
    default_worker: str | None = None


class RoutingAnswer(Answer):
    """Where a project's runs go; `default_worker` is a worker queue."""

    id: str
    ref: str
    allowed_queues: list[str]
    default_worker: str | None = None


@router.patch("/projects/{ref}", response=RoutingAnswer)
def patch_project(request: PersonRequest, ref: str, body: ProjectBody) -> RoutingAnswer:
    """Change which worker queues a project may use, and its default."""
    project = get_project(ref)
    changes = cast("RoutingChanges", body.given())
    set_project_routing(project, changes, **origin_of(request, request.auth))
    return _routing(project)


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
