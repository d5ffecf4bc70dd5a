"""The deployment calls of the public API: an environment key acts in its own environment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from django.http import StreamingHttpResponse
from ninja import Query, Status
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deployments import finalizing, lifecycle, promotion, registration, version_selectors
from deployments.deployment_states import DeploymentState
from deployments.deployment_views import EnvironmentScope
from deployments.version_selectors import DeploymentFilter
from runs.durations import moment_of, seconds_of
from tenants.credentials import Caller
from webapp.api.auth import CallerRequest, environment_key
from webapp.api.deployment_answers import (
    DeploymentAnswer,
    DeploymentId,
    DeploymentItem,
    DeploymentList,
    InitializedAnswer,
    PromotedAnswer,
    RegisteredAnswer,
    deployment_answer,
    deployment_item,
    deployment_list,
    initialized_answer,
)
from webapp.api.deployment_bodies import (
    BackgroundWorkerBody,
    CancelBody,
    FailBody,
    FinalizeBody,
    InitializeBody,
)
from webapp.api.errors import ApiError
from webapp.api.event_stream import stream_response
from webapp.api.shapes import new_router
from webapp.api.trigger_body import indexed_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

router = new_router(auth=environment_key, tags=["deployments"])

REQUEST_KEY: Final = "x-trigger-request-idempotency-key"
SMALLEST_PAGE: Final = 5
DEFAULT_PAGE: Final = 20
DEVELOPMENT: Final = "DEVELOPMENT"


def scope_of(caller: Caller) -> EnvironmentScope:
    """Give where a caller may act."""
    return EnvironmentScope(
        environment_id=caller.environment.id,
        project_id=caller.project.id,
        project_ref=caller.project.ref,
        organization_id=caller.organization.id,
    )


def write_context(request: CallerRequest) -> dict[str, Any]:
    """Give what every write of these routes says: where, who and when."""
    caller = request.auth
    actor = f"key:{caller.key_id}"
    return {"scope": scope_of(caller), "actor": actor, "now": datetime.now(UTC)}


def request_id_of(request: CallerRequest) -> str | None:
    """Give the id a caller gave its request, for the audit row."""
    return request.headers.get("x-request-id", "").strip()[:200] or None


# -- one deploy, step by step ---------------------------------------------------------------------


@router.post("/v1/deployments", response=InitializedAnswer)
def initialize(request: CallerRequest, body: InitializeBody) -> InitializedAnswer:
    """Begin a deployment."""
    if body.type in {"V1", "UNMANAGED"}:
        raise ApiError(422, f"type: {body.type} deployments are not supported, only MANAGED")
    begun = body.to_request(request_key=indexed_key(request.headers.get(REQUEST_KEY)))
    done = lifecycle.initialize_deployment(request=begun, **write_context(request))
    tag = lifecycle.image_name(
        project_ref=request.auth.project.ref,
        version=done.deployment.version,
        artifact_digest=done.deployment.artifact_digest,
    )
    return initialized_answer(done, image_tag=tag)


@router.post("/v1/deployments/{deployment_id}/progress", response={204: None})
def progress(request: CallerRequest, deployment_id: str) -> Status[None]:
    """Move a waiting deployment on."""
    lifecycle.progress_deployment(deployment_id=deployment_id, **write_context(request))
    return Status(204, None)


@router.post("/v1/deployments/{deployment_id}/start-building", response={204: None})
def start_building(request: CallerRequest, deployment_id: str) -> Status[None]:
    """Say that the code is being built."""
    lifecycle.start_building(deployment_id=deployment_id, **write_context(request))
    return Status(204, None)


@router.post(
    "/v1/deployments/{deployment_id}/background-workers",
    response=RegisteredAnswer,
)
def register(
    request: CallerRequest, deployment_id: str, body: BackgroundWorkerBody
) -> RegisteredAnswer:
    """Register the tasks and queues of a deployment."""
    worker = registration.register_worker(
        deployment_id=deployment_id, manifest=body.to_manifest(), **write_context(request)
    )
    return RegisteredAnswer(id=worker.id, version=worker.version, content_hash=worker.content_hash)


@router.post("/v3/deployments/{deployment_id}/finalize")
def finalize_streaming(
    request: CallerRequest, deployment_id: str, body: FinalizeBody | None = None
) -> StreamingHttpResponse:
    """Complete a deployment; progress and outcome are events of the answer."""
    scope = scope_of(request.auth)
    view = promotion.check_finalizable(scope=scope, deployment_id=deployment_id)
    finalizing.check_place(
        _wanted(request, deployment_id, body)
    )  # a stream has no status to say so
    finalize = partial(_finalize, request, deployment_id, body)
    return stream_response(finalize, opening=f"Finalizing version {view.version}")


@router.post("/v2/deployments/{deployment_id}/finalize", response=DeploymentId)
def finalize(
    request: CallerRequest, deployment_id: str, body: FinalizeBody | None = None
) -> Mapping[str, Any]:
    """Complete a deployment."""
    return _finalize(request, deployment_id, body, _say_nothing)


def _finalize(
    request: CallerRequest,
    deployment_id: str,
    body: FinalizeBody | None,
    report: Callable[[str], None],
) -> Mapping[str, Any]:
    wanted = _wanted(request, deployment_id, body)
    return {"id": finalizing.finalize_with_templates(wanted, report=report).id}


def _wanted(
    request: CallerRequest, deployment_id: str, body: FinalizeBody | None
) -> finalizing.Finalize:
    said = body or FinalizeBody()
    return finalizing.Finalize(
        scope=scope_of(request.auth),
        deployment_id=deployment_id,
        skip_promotion=said.skip_promotion,
        image_digest=said.image_digest,
        actor=f"key:{request.auth.key_id}",
        clock=partial(datetime.now, UTC),
        request_id=request_id_of(request),
    )


def _say_nothing(_line: str) -> None:
    """Keep to one's self what there is no stream for."""


@router.post("/v1/deployments/{deployment_id}/fail", response=DeploymentId)
def fail(request: CallerRequest, deployment_id: str, body: FailBody) -> DeploymentId:
    """End a deployment that could not be built."""
    error = body.error.model_dump(exclude_none=True)
    view = lifecycle.fail_deployment(
        deployment_id=deployment_id, error=error, **write_context(request)
    )
    return DeploymentId(id=view.id)


@router.post("/v1/deployments/{deployment_id}/cancel", response={204: None})
def cancel(
    request: CallerRequest, deployment_id: str, body: CancelBody | None = None
) -> Status[None]:
    """Call a deployment off."""
    lifecycle.cancel_deployment(
        deployment_id=deployment_id,
        reason=None if body is None else body.reason,
        **write_context(request),
    )
    return Status(204, None)


@router.post("/v1/deployments/{version}/promote", response=PromotedAnswer)
def promote(
    request: CallerRequest,
    version: str,
    allow_rollbacks: Annotated[bool, Query(alias="allowRollbacks")] = False,  # noqa: FBT002
) -> PromotedAnswer:
    """Make a deployed version the current one."""
    view = promotion.promote_version(
        version=version,
        allow_rollback=allow_rollbacks,
        request_id=request_id_of(request),
        **write_context(request),
    )
    return PromotedAnswer(id=view.id, version=view.version, short_code=view.short_code)


@router.post("/v1/projects/{ref}/background-workers", response=RegisteredAnswer)
def register_for_development(
    request: CallerRequest, ref: str, body: BackgroundWorkerBody
) -> RegisteredAnswer:
    """Register a version of the development environment and make it the current one."""
    caller = request.auth
    if caller.project.ref != ref:
        raise ApiError(404, f'There is no project "{ref}"')
    if caller.environment.type != DEVELOPMENT:
        raise ApiError(403, "Only a development key may register tasks without a deployment")
    worker = registration.register_development_worker(
        manifest=body.to_manifest(), **write_context(request)
    )
    return RegisteredAnswer(id=worker.id, version=worker.version, content_hash=worker.content_hash)


# -- reading --------------------------------------------------------------------------------------


def _statuses(text: str) -> str:
    unknown = [name for name in text.split(",") if name not in DeploymentState.__members__]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(DeploymentState)}")
    return text


def _period(text: str) -> str:
    if seconds_of(text) is None:
        raise ValueError("a period is a duration such as 7d")
    return text


def _moment(text: str) -> str:
    if _moment_at(text) is None:
        raise ValueError("a moment is an ISO 8601 date or epoch milliseconds")
    return text


def _moment_at(text: str) -> datetime | None:
    if text.isdecimal() and len(text) <= 15:  # noqa: PLR2004  milliseconds until the year 33658
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(text))
    is_duration = seconds_of(text) is not None
    return None if is_duration else moment_of(text, now=datetime.fromtimestamp(0, UTC))


class DeploymentQuery(BaseModel):
    """Which deployments are listed, and which page of them."""

    model_config = ConfigDict(frozen=True)

    status: Annotated[str, AfterValidator(_statuses)] | None = None
    period: Annotated[str, AfterValidator(_period)] | None = None
    created_from: Annotated[str, AfterValidator(_moment)] | None = Field(None, alias="from")
    created_to: Annotated[str, AfterValidator(_moment)] | None = Field(None, alias="to")
    size: Annotated[int, Field(ge=1, le=100)] = Field(DEFAULT_PAGE, alias="page[size]")
    after: str | None = Field(None, alias="page[after]")
    before: str | None = Field(None, alias="page[before]")

    def to_filter(self, *, now: datetime) -> DeploymentFilter:
        """Give what the selector takes; of `from` and `period` the later one holds."""
        period_s = seconds_of(self.period or "")
        starts = [
            None if period_s is None else now - timedelta(seconds=period_s),
            _moment_at(self.created_from or ""),
        ]
        return DeploymentFilter(
            statuses=[DeploymentState(s) for s in self.status.split(",")] if self.status else None,
            created_from=max((at for at in starts if at is not None), default=None),
            created_to=_moment_at(self.created_to or ""),
        )


@router.get("/v1/deployments", response=DeploymentList, exclude_none=False, exclude_unset=True)
def list_page(request: CallerRequest, query: Query[DeploymentQuery]) -> DeploymentList:
    """List the deployments of an environment, newest first."""
    page = version_selectors.list_deployments(
        scope=scope_of(request.auth),
        wanted=query.to_filter(now=datetime.now(UTC)),
        size=max(SMALLEST_PAGE, query.size),
        after=query.after,
        before=query.before,
    )
    return deployment_list(page)


@router.get(
    "/v1/deployments/current", response=DeploymentItem, exclude_none=False, exclude_unset=True
)
def current(request: CallerRequest) -> DeploymentItem:
    """Show the deployment whose version new runs use."""
    view = version_selectors.find_current_deployment(scope=scope_of(request.auth))
    if view is None:
        raise ApiError(404, "There is no current deployment")
    return deployment_item(view)


@router.get(
    "/v1/deployments/latest", response=DeploymentItem, exclude_none=False, exclude_unset=True
)
def latest(request: CallerRequest) -> DeploymentItem:
    """Show the deployment that was begun last, whatever became of it."""
    page = version_selectors.list_deployments(
        scope=scope_of(request.auth), wanted=DeploymentFilter(), size=1
    )
    if not page.data:
        raise ApiError(404, "There is no deployment")
    return deployment_item(page.data[0])


@router.get("/v1/deployments/{deployment_id}", response=DeploymentAnswer)
def show(request: CallerRequest, deployment_id: str) -> DeploymentAnswer:
    """Show one deployment."""
    view, worker = version_selectors.get_deployment(
        scope=scope_of(request.auth), deployment_id=deployment_id
    )
    return deployment_answer(view, worker)
