"""Reading deployments and versions, always within one environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deployments.deployment_errors import UnknownDeployment
from deployments.deployment_views import (
    DeploymentView,
    EnvironmentScope,
    WorkerView,
    deployment_view,
    worker_view,
)
from deployments.models.versions import BackgroundWorker, CurrentVersion, Deployment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from deployments.deployment_states import DeploymentState


class DeploymentPage(NamedTuple):
    """A page of deployments, newest first."""

    data: tuple[DeploymentView, ...]
    next: str | None  # cursor of the page after this one; None: this is the last
    previous: str | None


class DeploymentFilter(NamedTuple):
    """Which deployments a list shows; None: no matter."""

    statuses: Sequence[DeploymentState] | None = None
    created_from: datetime | None = None  # included
    created_to: datetime | None = None  # included


def get_deployment(
    *, scope: EnvironmentScope, deployment_id: str
) -> tuple[DeploymentView, WorkerView | None]:
    """Give a deployment and the version it registered, if any, or raise `UnknownDeployment`."""
    row = Deployment.objects.filter(id=deployment_id, environment_id=scope.environment_id).first()
    if row is None:
        raise UnknownDeployment(f'There is no deployment "{deployment_id}" in this environment')
    worker = BackgroundWorker.objects.filter(deployment=row).first()
    return deployment_view(row), None if worker is None else worker_view(worker, tasks=True)


def find_current_deployment(*, scope: EnvironmentScope) -> DeploymentView | None:
    """Give the deployment whose version new runs use; None also for a development version."""
    current = (
        CurrentVersion.objects.select_related("worker__deployment")
        .filter(environment_id=scope.environment_id, worker__deployment__isnull=False)
        .first()
    )
    if current is None or current.worker.deployment is None:
        return None
    return deployment_view(current.worker.deployment)


def list_deployments(
    *,
    scope: EnvironmentScope,
    wanted: DeploymentFilter,
    size: int,
    after: str | None = None,
    before: str | None = None,
) -> DeploymentPage:
    """Give a page of an environment's deployments; cursors are ids, `before` wins over `after`."""
    rows = Deployment.objects.filter(environment_id=scope.environment_id)
    if wanted.statuses is not None:
        rows = rows.filter(status__in=wanted.statuses)
    if wanted.created_from is not None:
        rows = rows.filter(created_at__gte=wanted.created_from)
    if wanted.created_to is not None:
        rows = rows.filter(created_at__lte=wanted.created_to)
    if before is not None:
        found = list(rows.filter(id__gt=before).order_by("id")[: size + 1])
        shown = found[:size][::-1]
        return _page(shown, has_next=bool(shown), has_previous=len(found) > size)
    older = rows if after is None else rows.filter(id__lt=after)
    found = list(older.order_by("-id")[: size + 1])
    return _page(found[:size], has_next=len(found) > size, has_previous=after is not None)


def _page(rows: list[Deployment], *, has_next: bool, has_previous: bool) -> DeploymentPage:
    return DeploymentPage(
        data=tuple(deployment_view(row) for row in rows),
        next=rows[-1].id if rows and has_next else None,
        previous=rows[0].id if rows and has_previous else None,
    )
