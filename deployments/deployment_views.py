"""Deployments and versions as values: what leaves this app instead of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.deployment_states import DeploymentState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from deployments.models.versions import BackgroundWorker, Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentScope:
    """The environment a caller works in; nothing outside it is found."""

    environment_id: str
    project_id: str
    project_ref: str
    organization_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment as others see it."""

    id: str
    version: str
    short_code: str
    content_hash: str
    status: DeploymentState
    image_reference: str | None  # None: nothing to start a workload from
    artifact_digest: str | None
    runtime: str | None
    runtime_version: str | None
    git: Mapping[str, Any] | None
    external_id: str | None
    error: Mapping[str, Any] | None
    created_by: str | None  # the actor who began it, as in the audit; None: not known any more
    created_at: datetime
    started_building_at: datetime | None
    deployed_at: datetime | None
    failed_at: datetime | None  # it failed or timed out
    canceled_at: datetime | None
    cancel_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task of a version."""

    id: str
    slug: str
    file_path: str
    export_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A registered version."""

    id: str
    version: str
    content_hash: str
    tasks: tuple[TaskView, ...] = ()


def deployment_view(row: Deployment) -> DeploymentView:
    """Give the value of a deployment's row."""
    return DeploymentView(
        id=row.id,
        version=row.version,
        short_code=row.short_code,
        content_hash=row.content_hash,
        status=DeploymentState(row.status),
        image_reference=row.image_reference,
        artifact_digest=row.artifact_digest,
        runtime=row.runtime,
        runtime_version=row.runtime_version,
        git=row.git,
        external_id=row.external_id,
        error=row.error,
        created_by=row.created_by,
        created_at=row.created_at,
        started_building_at=row.started_building_at,
        deployed_at=row.deployed_at,
        failed_at=row.failed_at,
        canceled_at=row.canceled_at,
        cancel_reason=row.cancel_reason,
    )


def worker_view(row: BackgroundWorker, *, tasks: bool = False) -> WorkerView:
    """Give the value of a version's row; with `tasks`, its tasks too (one query)."""
    listed = row.tasks.order_by("slug") if tasks else ()
    return WorkerView(
        id=row.id,
        version=row.version,
        content_hash=row.content_hash,
        tasks=tuple(
            TaskView(id=t.id, slug=t.slug, file_path=t.file_path, export_name=t.export_name)
            for t in listed
        ),
    )
