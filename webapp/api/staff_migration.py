"""What staff ask about the migration, where a run would go and why; and moving what waits."""

from datetime import datetime
from typing import Literal

from rollout.explain import Explanation, explain
from rollout.moving import MoveWish, move_queued, preview_move
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.shapes import Answer, Body, Label, new_router
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
