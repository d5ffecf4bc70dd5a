"""A run as staff see it: what its owner sees, and where it is and why, which they do not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runs.selectors import SnapshotView, get_any_run, get_family, list_snapshots
from tenants.selectors import get_environment, get_organization
from webapp.api.auth import PersonRequest, staff_token
from webapp.api.run_answers import run_answer
from webapp.api.shapes import Answer, new_router
from webapp.api.staff_parts import EnvironmentPart, OrganizationPart

router = new_router(auth=staff_token, tags=["staff"])


class SnapshotAnswer(Answer):
    """One recorded state of a run; `is_valid` is false for a move that was refused."""

    id: str
    execution_status: str
    run_status: str
    event: str
    description: str
    is_valid: bool
    error: str | None = None
    previous_id: str | None = None
    attempt_number: int | None = None
    worker_id: str | None = None
    worker_group_id: str | None = None
    worker_instance: str | None = None
    runner_id: str | None = None
    created_at: datetime


class StaffRunAnswer(Answer):
    """A run with its placement; `revision` is the one the placement was decided at."""

    run: dict[str, Any]
    organization: OrganizationPart
    environment: EnvironmentPart
    queue: str
    region: str | None = None
    requested_region: str | None = None
    enrollment: str
    why: str
    revision: int | None = None
    snapshots: list[SnapshotAnswer]


@router.get("/runs/{run_id}", response=StaffRunAnswer)
def get_staff_run(request: PersonRequest, run_id: str) -> StaffRunAnswer:
    """Give any tenant's run, with where it is and why."""
    row = get_any_run(run_id)
    family = get_family(environment_id=row.environment_id, run_id=row.id)
    organization = get_organization(row.organization_id).organization
    environment = get_environment(row.environment_id)
    version = request.headers.get("x-trigger-api-version")
    return StaffRunAnswer(
        run=run_answer(family, api_version=version),
        organization=OrganizationPart(id=organization.id, slug=organization.slug),
        environment=EnvironmentPart(
            id=environment.id, type=environment.type, slug=environment.slug
        ),
        queue=row.worker_queue,
        region=row.region,
        requested_region=row.requested_region,
        enrollment=row.enrollment,
        why=row.why,
        revision=row.decided_revision,
        snapshots=[_snapshot(snapshot) for snapshot in list_snapshots(row.id)],
    )


def _snapshot(row: SnapshotView) -> SnapshotAnswer:
    names = SnapshotAnswer.model_fields
    return SnapshotAnswer(**{name: getattr(row, name) for name in names})
