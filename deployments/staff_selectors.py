"""Reads of deployments across tenants, for staff only. Only frozen values leave this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deployments.deployment_errors import UnknownDeployment
from deployments.deployment_views import DeploymentView, WorkerView, deployment_view, worker_view
from deployments.models.versions import BackgroundWorker, CurrentVersion, Deployment

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE_SIZE = 50


class PlacedDeployment(NamedTuple):
    """A deployment, and where it is."""

    deployment: DeploymentView
    environment_id: str
    is_current: bool  # new runs of its environment use it


class PlacedDeploymentPage(NamedTuple):
    """Deployments, newest first."""

    rows: tuple[PlacedDeployment, ...]
    next_after: str | None  # pass as `after` for the next page; None: this is the last one


def list_any_deployments(
    *,
    environment_ids: Sequence[str] | None = None,
    after: str | None = None,
    limit: int = PAGE_SIZE,
) -> PlacedDeploymentPage:
    """Give deployments newest first; None as `environment_ids`: of every environment."""
    found = Deployment.objects.order_by("-id")
    if environment_ids is not None:
        found = found.filter(environment_id__in=environment_ids)
    if after is not None:
        found = found.filter(id__lt=after)
    rows = list(found[: limit + 1])
    current = _current_among([row.id for row in rows])
    placed = tuple(_placed(row, current) for row in rows[:limit])
    return PlacedDeploymentPage(placed, rows[limit - 1].id if len(rows) > limit else None)


def get_any_deployment(deployment_id: str) -> tuple[PlacedDeployment, WorkerView | None]:
    """Give a deployment of any tenant with the version it registered, or `UnknownDeployment`."""
    row = Deployment.objects.filter(id=deployment_id).first()
    if row is None:
        raise UnknownDeployment(f'There is no deployment "{deployment_id}"')
    worker = BackgroundWorker.objects.filter(deployment=row).first()
    version = None if worker is None else worker_view(worker, tasks=True)
    return _placed(row, _current_among([row.id])), version


def _placed(row: Deployment, current: set[str]) -> PlacedDeployment:
    return PlacedDeployment(deployment_view(row), row.environment_id, row.id in current)


def _current_among(deployment_ids: Sequence[str]) -> set[str]:
    rows = CurrentVersion.objects.filter(worker__deployment_id__in=deployment_ids)
    return {str(found) for found in rows.values_list("worker__deployment_id", flat=True)}
