"""Deployments as the pages of an organization show them: of several environments at once.

Whoever asks says which environments may be seen; nothing outside them is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Count, OuterRef, Subquery

from deployments.deployment_errors import UnknownDeployment
from deployments.deployment_lines import LineView, list_lines
from deployments.deployment_states import DeploymentState
from deployments.deployment_views import DeploymentView, deployment_view
from deployments.manifest import own_queue_name
from deployments.models.versions import (
    BackgroundWorker,
    CurrentVersion,
    Deployment,
    TaskQueue,
    WorkerTask,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django.db.models import QuerySet


class ListedDeployment(NamedTuple):
    """A deployment as a list shows it."""

    deployment: DeploymentView
    environment_id: str
    project_id: str
    is_current: bool  # new runs of its environment use it
    task_count: int | None  # None: none are registered so far


class DeploymentRows(NamedTuple):
    """A page of deployments, newest first."""

    rows: tuple[ListedDeployment, ...]
    current: Mapping[str, str]  # the version that new runs use, by environment
    next: str | None  # cursor of the page after this one; None: this is the last
    previous: str | None


class TaskSettings(NamedTuple):
    """A task as a version defines it."""

    slug: str
    file_path: str
    export_name: str
    machine: str
    queue: str  # "" for a queue of its own
    max_attempts: int
    max_duration_s: int | None


class QueueSettings(NamedTuple):
    """A queue that tasks of a version name, as it is now."""

    name: str
    limit: int | None  # None: only the environment's
    is_paused: bool


class DeploymentDetail(NamedTuple):
    """A deployment with all that its page shows."""

    listed: ListedDeployment
    registered_at: datetime | None
    tasks: tuple[TaskSettings, ...]
    queues: tuple[QueueSettings, ...]
    lines: tuple[LineView, ...]
    current_version: str | None  # of its environment; None: there is none
    current_tasks: frozenset[str]  # of that version

    @property
    def is_promotable(self) -> bool:
        """Whether it may become the current version, which it is not."""
        done = self.listed.deployment.status == DeploymentState.DEPLOYED
        return done and not self.listed.is_current


def list_deployment_rows(
    *,
    environment_ids: Sequence[str],
    size: int,
    after: str | None = None,
    before: str | None = None,
) -> DeploymentRows:
    """Give a page of the deployments of these environments; `before` wins over `after`."""
    rows = _with_counts(Deployment.objects.filter(environment_id__in=environment_ids))
    if before is not None:
        found = list(rows.filter(id__gt=before).order_by("id")[: size + 1])
        shown = found[:size][::-1]
        return _page(shown, environment_ids, older=bool(shown), newer=len(found) > size)
    if after is not None:
        rows = rows.filter(id__lt=after)
    found = list(rows.order_by("-id")[: size + 1])
    return _page(found[:size], environment_ids, older=len(found) > size, newer=after is not None)


def get_deployment_detail(
    *, environment_ids: Sequence[str], deployment_id: str
) -> DeploymentDetail:
    """Give a deployment of one of these environments, or raise `UnknownDeployment`."""
    rows = Deployment.objects.filter(id=deployment_id, environment_id__in=environment_ids)
    row = _with_counts(rows).first()
    if row is None:
        raise UnknownDeployment("Deployment not found")
    worker = BackgroundWorker.objects.filter(deployment=row).first()
    tasks = () if worker is None else tuple(worker.tasks.order_by("slug"))
    current = (
        CurrentVersion.objects.select_related("worker")
        .filter(environment_id=row.environment_id)
        .first()
    )
    return DeploymentDetail(
        listed=_listed(row, {} if current is None else {current.environment_id: current.worker_id}),
        registered_at=None if worker is None else worker.created_at,
        tasks=tuple(map(_task, tasks)),
        queues=_queues(row.environment_id, tasks),
        lines=list_lines(row.id),
        current_version=None if current is None else current.worker.version,
        current_tasks=_slugs(None if current is None else current.worker_id),
    )


def _with_counts(rows: QuerySet[Deployment]) -> QuerySet[Deployment]:
    own = WorkerTask.objects.filter(worker__deployment=OuterRef("pk")).order_by()
    counted = own.values("worker__deployment").annotate(count=Count("pk")).values("count")
    worker = BackgroundWorker.objects.filter(deployment=OuterRef("pk")).values("id")
    return rows.annotate(worker_of=Subquery(worker), task_count=Subquery(counted))


def _page(
    rows: Sequence[Deployment], environment_ids: Sequence[str], *, older: bool, newer: bool
) -> DeploymentRows:
    found = CurrentVersion.objects.filter(environment_id__in=environment_ids)
    current = list(found.values_list("environment_id", "worker_id", "worker__version"))
    workers = {environment_id: worker_id for environment_id, worker_id, _ in current}
    return DeploymentRows(
        rows=tuple(_listed(row, workers) for row in rows),
        current={environment_id: version for environment_id, _, version in current},
        next=rows[-1].id if rows and older else None,
        previous=rows[0].id if rows and newer else None,
    )


def _listed(row: Deployment, current: Mapping[str, str]) -> ListedDeployment:
    worker_id = getattr(row, "worker_of", None)
    count = getattr(row, "task_count", None)
    return ListedDeployment(
        deployment=deployment_view(row),
        environment_id=row.environment_id,
        project_id=row.project_id,
        is_current=worker_id is not None and current.get(row.environment_id) == worker_id,
        task_count=None if worker_id is None else count or 0,
    )


def _task(row: WorkerTask) -> TaskSettings:
    return TaskSettings(
        slug=row.slug,
        file_path=row.file_path,
        export_name=row.export_name,
        machine=row.machine,
        queue="" if row.queue_name == own_queue_name(row.slug) else row.queue_name,
        max_attempts=row.max_attempts,
        max_duration_s=row.max_duration_s,
    )


def _queues(environment_id: str, tasks: Sequence[WorkerTask]) -> tuple[QueueSettings, ...]:
    names = {task.queue_name for task in tasks}
    rows = TaskQueue.objects.filter(environment_id=environment_id, name__in=names)
    return tuple(
        QueueSettings(row.name, row.concurrency_limit, row.paused) for row in rows.order_by("name")
    )


def _slugs(worker_id: str | None) -> frozenset[str]:
    if worker_id is None:
        return frozenset()
    return frozenset(WorkerTask.objects.filter(worker_id=worker_id).values_list("slug", flat=True))
