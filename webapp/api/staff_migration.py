"""What staff ask about the migration: where a run goes, whom a change moves; moving what waits."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from flags.catalog import Scope
from rollout.explain import Explanation, explain
from rollout.moving import MoveWish, move_queued, preview_move
from rollout.proposal import MovingSide, preview_global_flags
from rollout.readiness import Readiness
from tenants.errors import Invalid, Problem
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.json_object import read_object
from webapp.api.shapes import Answer, Body, Label, new_router
from webapp.api.staff_flags import flags_schema
from webapp.api.staff_parts import EnvironmentPart, OrganizationPart

router = new_router(auth=staff_token, tags=["staff"])


class BackingPart(Answer):
    """The MicroVM group of the region."""

    queue: str
    live: bool


class SnapshotPart(Answer):
    """What this replica decides from; without `revision` it does not know yet."""

    revision: int | None = None
    age_ms: int


class ExplainAnswer(Answer):
    """A placement with everything it was decided from; what has no value is left out."""

    organization: OrganizationPart
    environment: EnvironmentPart
    requested_region: str | None = None
    plan: str | None = None
    plan_at: datetime | None = None
    override: bool | None = None
    global_enabled: bool | None = None
    percentage: int | None = None
    bucket: int
    enrollment: str
    enrolled: bool
    base_queue: str | None = None
    queue: str
    region: str | None = None
    why: str
    backing: BackingPart | None = None
    snapshot: SnapshotPart | None = None


@router.get("/orgs/{organization_id}/migration/explain", response=ExplainAnswer)
def get_explanation(
    request: PersonRequest, organization_id: str, environment: str = "prod", region: str = ""
) -> ExplainAnswer:
    """Say where a run triggered at this moment would go, and why; nothing is triggered."""
    found = explain(organization_id, environment_slug=environment, region=region or None)
    return _answer(found)


class MoveBody(Body):
    """Which waiting runs go where: those of a region, with `org` of one organization only."""

    region: Label
    to: Literal["CONTAINER", "MICROVM"]
    org: str | None = None
    dry_run: bool = False


class MoveAnswer(Answer):
    """What waited, by the worker queue it waited on, and how much of it was moved."""

    count: int
    moved: int
    by_queue: dict[str, int]


@router.post("/migration/move-queued", response=MoveAnswer)
def post_move_queued(request: PersonRequest, body: MoveBody) -> MoveAnswer:
    """Move waiting runs to containers or to the backing; with `dryRun` only count them."""
    wish = MoveWish(body.region, body.to, body.org)
    if body.dry_run:
        preview, moved = preview_move(wish), 0
    else:
        done = move_queued(wish, **origin_of(request, request.auth))
        preview, moved = done.preview, done.moved
    return MoveAnswer(count=preview.count, moved=moved, by_queue=dict(preview.by_queue))


class MovingPart(Answer):
    """An organization that would move; `effective`: its default region has a live backing."""

    id: str
    title: str
    plan: str | None = None
    runs_per_hour: float
    effective: bool
    templates: Readiness | None = None


class TemplatesPart(Answer):
    """How many of those who move have ready templates; the three together are all of them."""

    ready: int
    not_ready: int
    undeployed: int


class SidePart(Answer):
    """Those who would move in one direction; the 1,000 largest of them are listed."""

    count: int
    runs_per_hour: float
    by_plan: dict[str, int]
    by_region: dict[str, int]
    organizations: list[MovingPart]
    truncated: bool
    templates: TemplatesPart | None = None


class PreviewAnswer(Answer):
    """What a change of flags would do, exact as of `revision`."""

    revision: int
    superset: bool
    subset: bool
    joining: SidePart = Field(alias="in")
    leaving: SidePart = Field(alias="out")


_PREVIEW_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["flags"],
                    "properties": {"flags": flags_schema(Scope.GLOBAL)},
                }
            }
        },
    }
}


@router.post("/migration/preview", response=PreviewAnswer, openapi_extra=_PREVIEW_BODY)
def post_preview(request: PersonRequest) -> PreviewAnswer:
    """Say who would move in and out if these flags were set; nothing is."""
    found = preview_global_flags(_proposed(read_object(request.body)))
    return PreviewAnswer(
        revision=found.revision,
        superset=found.is_superset,
        subset=found.is_subset,
        joining=_side(found.joining),
        leaving=_side(found.leaving),
    )


def _proposed(body: dict[str, Any]) -> dict[str, Any]:
    """Give the flags of a preview's body, or raise `Invalid`."""
    problems = tuple(Problem(key, "there is no such key") for key in body if key != "flags")
    if "flags" not in body:
        problems = (*problems, Problem("flags", "is required"))
    elif not isinstance(body["flags"], dict):
        problems = (*problems, Problem("flags", "must be an object of flags"))
    if problems:
        raise Invalid(f"{problems[0].key}: {problems[0].message}", problems)
    return dict(body["flags"])


def _side(side: MovingSide) -> SidePart:
    return SidePart(
        count=side.count,
        runs_per_hour=side.runs_per_hour,
        by_plan=dict(side.by_plan),
        by_region=dict(side.by_region),
        organizations=[
            MovingPart(
                id=one.id,
                title=one.title,
                plan=one.plan,
                runs_per_hour=one.runs_per_hour,
                effective=one.is_effective,
                templates=None if side.templates is None else one.readiness,
            )
            for one in side.organizations
        ],
        truncated=side.is_truncated,
        templates=None if side.templates is None else TemplatesPart(**side.templates._asdict()),
    )


def _answer(found: Explanation) -> ExplainAnswer:
    organization, environment = found.caller.organization, found.caller.environment
    placement, backing, age_s = found.placement, found.backing, found.snapshot_age_s
    return ExplainAnswer(
        organization=OrganizationPart(id=organization.id, slug=organization.slug),
        environment=EnvironmentPart(
            id=environment.id, type=environment.type, slug=environment.slug
        ),
        requested_region=found.requested_region,
        plan=organization.plan,
        plan_at=organization.plan_at,
        override=found.override,
        global_enabled=found.is_globally_enabled,
        percentage=found.percentage,
        bucket=organization.bucket,
        enrollment=placement.enrollment.value,
        enrolled=placement.enrollment.is_enrolled,
        base_queue=found.base_queue,
        queue=placement.worker_queue,
        region=placement.region,
        why=placement.why.value,
        backing=None if backing is None else BackingPart(queue=backing.queue, live=backing.is_live),
        snapshot=None
        if age_s is None
        else SnapshotPart(revision=found.revision, age_ms=round(age_s * 1000)),
    )
