"""Registering what a version brings: the worker, its tasks and its queues, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction

from deployments.deployment_errors import AlreadyRegistered
from deployments.deployment_states import DeploymentEvent
from deployments.deployment_views import EnvironmentScope, WorkerView, worker_view
from deployments.lifecycle import locked_deployment, move_deployment
from deployments.manifest import TaskManifest, VersionManifest, queues_of
from deployments.models.versions import BackgroundWorker, CurrentVersion, Deployment, WorkerTask
from deployments.promotion import make_current
from deployments.queues import upsert_queues
from deployments.version_allocation import allocate_version, lock_versions
from ledger.ids import new_id
from ledger.services import ledger_write

if TYPE_CHECKING:
    from datetime import datetime

log = structlog.get_logger(__name__)


@transaction.atomic
def register_worker(
    *,
    scope: EnvironmentScope,
    deployment_id: str,
    manifest: VersionManifest,
    actor: str,
    now: datetime,
) -> WorkerView:
    """Register the tasks and queues of a deployment that is being built.

    Repeating the call with the same content gives the same version; other content for a
    deployment that has one raises `AlreadyRegistered`, a wrong state `IllegalMove`.
    """
    row = locked_deployment(scope, deployment_id)
    registered = BackgroundWorker.objects.filter(deployment=row).first()
    if registered is not None:
        return _again(registered, manifest)
    move_deployment(row, DeploymentEvent.REGISTER, actor=actor, now=now)
    worker = _create_worker(scope, manifest, version=row.version, deployment=row, now=now)
    log.info("deployment.registered", deployment_id=row.id, tasks=len(manifest.tasks), actor=actor)
    return worker_view(worker)


def register_development_worker(
    *, scope: EnvironmentScope, manifest: VersionManifest, actor: str, now: datetime
) -> WorkerView:
    """Register a version of a development environment and make it the current one at once.

    The current version is given again while its content is the same.
    """
    current = _current_with(scope, manifest)
    if current is not None:
        return worker_view(current)
    with ledger_write(actor=actor, source="dev", now=now) as write:
        lock_versions(scope.environment_id)
        version = allocate_version(environment_id=scope.environment_id, now=now)
        worker = _create_worker(scope, manifest, version=version, deployment=None, now=now)
        make_current(write, worker=worker, organization_id=scope.organization_id, now=now)
    return worker_view(worker)


def _again(registered: BackgroundWorker, manifest: VersionManifest) -> WorkerView:
    if registered.content_hash != manifest.content_hash or registered.metadata != manifest.metadata:
        raise AlreadyRegistered("Other tasks are registered for this deployment already")
    return worker_view(registered)


def _current_with(scope: EnvironmentScope, manifest: VersionManifest) -> BackgroundWorker | None:
    current = (
        CurrentVersion.objects.select_related("worker")
        .filter(environment_id=scope.environment_id, worker__content_hash=manifest.content_hash)
        .first()
    )
    if current is None or current.worker.metadata != manifest.metadata:
        return None
    return current.worker


def _create_worker(
    scope: EnvironmentScope,
    manifest: VersionManifest,
    *,
    version: str,
    deployment: Deployment | None,
    now: datetime,
) -> BackgroundWorker:
    worker = BackgroundWorker.objects.create(
        id=new_id("worker"),
        environment_id=scope.environment_id,
        project_id=scope.project_id,
        version=version,
        deployment=deployment,
        content_hash=manifest.content_hash,
        package_version=manifest.package_version,
        runtime=manifest.runtime or (deployment.runtime if deployment else None),
        runtime_version=manifest.runtime_version
        or (deployment.runtime_version if deployment else None),
        metadata=dict(manifest.metadata),
        created_at=now,
    )
    WorkerTask.objects.bulk_create(
        WorkerTask(worker=worker, **_task_columns(task)) for task in manifest.tasks
    )
    upsert_queues(environment_id=scope.environment_id, queues=queues_of(manifest), now=now)
    return worker


def _task_columns(task: TaskManifest) -> dict[str, Any]:
    return {
        "id": new_id("task"),
        "slug": task.slug,
        "file_path": task.file_path,
        "export_name": task.export_name,
        "description": task.description,
        "queue_name": task.queue.name,
        "machine": task.machine,
        "retry": None if task.retry is None else dict(task.retry),
        "max_attempts": task.max_attempts,
        "max_duration_s": task.max_duration_s,
        "ttl_s": task.ttl_s,
    }
