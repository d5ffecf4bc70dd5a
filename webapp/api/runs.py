"""The public routes of runs: read, list, cancel, replay, reschedule, tags, result, logs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from annotated_types import MaxLen
from django.http import HttpRequest
from ninja import Router
from pydantic import BaseModel, BeforeValidator

from runs.durations import moment_of
from runs.errors import RunNotFound
from runs.selectors import get_family, get_run, list_logs, list_runs
from runs.services.cancellation import cancel_run
from runs.services.replay import replay_run
from runs.services.rescheduling import reschedule_run
from runs.services.tags import add_tags
from runs.states import FINAL
from tenants.credentials import Caller
from tenants.errors import Invalid
from webapp.api.auth import environment_key
from webapp.api.errors import ApiError
from webapp.api.run_answers import iso, item_answer, result_answer, run_answer
from webapp.api.run_query import RUN_PARAMETERS, read_run_query
from webapp.api.trigger_body import Headers, Options, Tag, Text, one_or_many, source_of

router = Router(auth=environment_key, tags=["runs"])
RETRY = {"x-should-retry": "true"}


class TagsBody(Options):
    """The tags to add; a bare string is one tag."""

    tags: Annotated[list[Tag], BeforeValidator(one_or_many), MaxLen(100)]


class RescheduleBody(Options):
    """The new delay: a duration from now, or a date."""

    delay: Text


class ReplayBody(BaseModel):
    """What a replay may change; everything else is the run's."""

    region: str | None = None


def caller_of(request: HttpRequest) -> Caller:
    """Give the caller that `environment_key` recognised."""
    caller: Caller = request.auth  # type: ignore[attr-defined]
    return caller


def _version_of(request: HttpRequest) -> str | None:
    return request.headers.get("x-trigger-api-version")


@router.get("/v3/runs/{run_id}", operation_id="get_run", response=Any)
def get_one(request: HttpRequest, run_id: str) -> dict[str, Any]:
    """Give a run. Unknown: 404 that may be repeated, since a fresh run may not be visible yet."""
    caller = caller_of(request)
    try:
        family = get_family(environment_id=caller.environment.id, run_id=run_id)
    except RunNotFound:
        raise ApiError(404, "Not found", headers=RETRY) from None
    return run_answer(family, api_version=_version_of(request))


@router.get(
    "/v1/runs",
    operation_id="list_runs",
    response=Any,
    openapi_extra={"parameters": RUN_PARAMETERS},
)
def get_list(request: HttpRequest) -> dict[str, Any]:
    """Give a page of runs, newest first."""
    caller = caller_of(request)
    query = read_run_query(request.GET, now=datetime.now(UTC))
    page = list_runs(
        environment_ids=[caller.environment.id],
        wanted=query.wanted,
        size=query.size,
        after=query.after,
        before=query.before,
    )
    cursors = {"next": page.next, "previous": page.previous}
    version = _version_of(request)
    return {
        "data": [
            item_answer(run, environment_slug=caller.environment.slug, api_version=version)
            for run in page.runs
        ],
        "pagination": {name: cursor for name, cursor in cursors.items() if cursor is not None},
    }


@router.post("/v2/runs/{run_id}/cancel", operation_id="cancel_run", response=Any)
def cancel(request: HttpRequest, run_id: str) -> dict[str, Any]:
    """Cancel a run; one that is over stays as it is."""
    cancel_run(environment_id=caller_of(request).environment.id, run_id=run_id)
    return {"id": run_id}


@router.post("/v1/runs/{run_id}/replay", operation_id="replay_run", response=Any)
def replay(request: HttpRequest, run_id: str) -> dict[str, Any]:
    """Run it again, with what it was given; the body may be empty."""
    overrides = _replay_body(request.body)
    made = replay_run(
        caller_of(request),
        run_id=run_id,
        region=overrides.region,
        source=source_of(Headers(request.META)),
        now=datetime.now(UTC),
    )
    return {"id": made.run_id}


def _replay_body(raw: bytes) -> ReplayBody:
    try:
        return ReplayBody.model_validate_json(raw) if raw.strip() else ReplayBody()
    except ValueError as error:
        raise Invalid("The request body is not a JSON object with an optional region") from error


@router.post("/v1/runs/{run_id}/reschedule", operation_id="reschedule_run", response=Any)
def reschedule(request: HttpRequest, run_id: str, body: RescheduleBody) -> dict[str, Any]:
    """Give a delayed run another time, and answer with the run."""
    environment_id = caller_of(request).environment.id
    delay_until = _moment_ahead(body.delay, now=datetime.now(UTC))
    reschedule_run(environment_id=environment_id, run_id=run_id, delay_until=delay_until)
    family = get_family(environment_id=environment_id, run_id=run_id)
    return run_answer(family, api_version=_version_of(request))


def _moment_ahead(delay: str, *, now: datetime) -> datetime:
    moment = moment_of(delay, now=now)
    if moment is None or moment <= now:
        raise Invalid(f"Invalid delay: {delay}")
    return moment


@router.post("/v1/runs/{run_id}/tags", operation_id="add_tags", response=Any)
def tags(request: HttpRequest, run_id: str, body: TagsBody) -> dict[str, Any]:
    """Add tags to a run."""
    wanted = [tag for tag in body.tags if tag.strip()]
    added = add_tags(environment_id=caller_of(request).environment.id, run_id=run_id, tags=wanted)
    if added == 0:
        return {"message": "No new tags to add"}
    return {"message": f"Successfully set {added} new tags."}


@router.get("/v1/runs/{run_id}/result", operation_id="get_result", response=Any)
def result(request: HttpRequest, run_id: str) -> dict[str, Any]:
    """Give what a finished run returned or raised; 404 while it is not finished."""
    run = get_run(environment_id=caller_of(request).environment.id, run_id=run_id)
    if run.status not in FINAL:
        raise ApiError(404, "The run is not finished")
    return result_answer(run)


@router.get("/v1/runs/{run_id}/logs", operation_id="list_logs", response=Any)
def logs(request: HttpRequest, run_id: str) -> dict[str, Any]:
    """Give a page of what a run's attempts wrote, in order."""
    attempt = request.GET.get("attempt")
    if attempt is not None and not (attempt.isascii() and attempt.isdecimal()):
        raise Invalid("attempt: should be a whole number")
    run = get_run(environment_id=caller_of(request).environment.id, run_id=run_id)
    lines, after = list_logs(
        run_id=run.id,
        attempt=None if attempt is None else min(int(attempt[:9]), 2**31 - 1),
        after=request.GET.get("page[after]"),
    )
    data = [
        {"attempt": line.attempt, "seq": line.seq, "at": iso(line.at), "stream": line.stream}
        | ({} if line.level is None else {"level": line.level})
        | {"text": line.text}
        for line in lines
    ]
    return {"data": data, "pagination": {} if after is None else {"next": after}}
