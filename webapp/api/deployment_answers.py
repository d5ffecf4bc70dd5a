"""What the deployment calls answer. Keys without a value are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runs.contracts import Instant
from webapp.api.shapes import Answer, Pagination

if TYPE_CHECKING:
    from deployments.deployment_views import DeploymentView, WorkerView
    from deployments.lifecycle import Initialized
    from deployments.version_selectors import DeploymentPage

IMAGE_PLATFORM = "linux/amd64"


class CanceledAnswer(Answer):
    """A deployment that a newer one replaced."""

    id: str
    version: str
    shortCode: str  # noqa: N815


class InitializedAnswer(Answer):
    """The deployment a deploy goes on with."""

    id: str
    contentHash: str  # noqa: N815
    shortCode: str  # noqa: N815
    version: str
    imageTag: str  # noqa: N815
    imagePlatform: str = IMAGE_PLATFORM  # noqa: N815
    externalId: str | None = None  # noqa: N815
    outcome: str
    isPromoted: bool  # noqa: N815
    canceledDeployments: list[CanceledAnswer] | None = None  # noqa: N815


class TaskAnswer(Answer):
    """A task of a version."""

    id: str
    slug: str
    filePath: str  # noqa: N815
    exportName: str | None = None  # noqa: N815


class WorkerAnswer(Answer):
    """The version of a deployment."""

    id: str
    version: str
    tasks: list[TaskAnswer]


class DeploymentAnswer(Answer):
    """One deployment, with its tasks once they are registered."""

    id: str
    status: str
    contentHash: str  # noqa: N815
    shortCode: str  # noqa: N815
    version: str
    imageReference: str | None = None  # noqa: N815
    imagePlatform: str = IMAGE_PLATFORM  # noqa: N815
    externalId: str | None = None  # noqa: N815
    errorData: dict[str, Any] | None = None  # noqa: N815
    worker: WorkerAnswer | None = None


class DeploymentItem(Answer):
    """One deployment of a list; sent without its unset fields, see `deployment_item`."""

    id: str
    createdAt: Instant  # noqa: N815
    shortCode: str  # noqa: N815
    version: str
    runtime: str | None
    runtimeVersion: str | None  # noqa: N815
    status: str
    deployedAt: Instant | None = None  # noqa: N815
    git: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class DeploymentList(Answer):
    """A page of deployments, newest first."""

    data: list[DeploymentItem]
    pagination: Pagination


class RegisteredAnswer(Answer):
    """A registered version."""

    id: str
    version: str
    contentHash: str  # noqa: N815


class DeploymentId(Answer):
    """Which deployment a call was about."""

    id: str


class PromotedAnswer(Answer):
    """The version that is current now."""

    id: str
    version: str
    shortCode: str  # noqa: N815


class UploadAnswer(Answer):
    """Where an artifact's bytes go; with `exists` they are here already."""

    url: str
    exists: bool | None = None


def initialized_answer(done: Initialized, *, image_tag: str) -> InitializedAnswer:
    """Give the answer to a begun deployment."""
    view = done.deployment
    canceled = [
        CanceledAnswer(id=c.id, version=c.version, shortCode=c.short_code) for c in done.canceled
    ]
    return InitializedAnswer(
        id=view.id,
        contentHash=view.content_hash,
        shortCode=view.short_code,
        version=view.version,
        imageTag=image_tag,
        externalId=view.external_id,
        outcome=done.outcome,
        isPromoted=done.is_promoted,
        canceledDeployments=canceled or None,
    )


def deployment_answer(view: DeploymentView, worker: WorkerView | None) -> DeploymentAnswer:
    """Give the answer that shows one deployment."""
    return DeploymentAnswer(
        id=view.id,
        status=view.status,
        contentHash=view.content_hash,
        shortCode=view.short_code,
        version=view.version,
        imageReference=view.image_reference,
        externalId=view.external_id,
        errorData=None if view.error is None else dict(view.error),
        worker=None if worker is None else _worker_answer(worker),
    )


def deployment_item(view: DeploymentView) -> DeploymentItem:
    """Give one deployment of a list; runtimes are null while unknown, the others left out."""
    optional = {"deployedAt": view.deployed_at, "git": view.git, "error": view.error}
    return DeploymentItem(
        id=view.id,
        createdAt=view.created_at,
        shortCode=view.short_code,
        version=view.version,
        runtime=view.runtime,
        runtimeVersion=view.runtime_version,
        status=view.status,
        **_without_none(optional),
    )


def deployment_list(page: DeploymentPage) -> DeploymentList:
    """Give a page of deployments."""
    cursors = _without_none({"next": page.next, "previous": page.previous})
    return DeploymentList(
        data=[deployment_item(view) for view in page.data], pagination=Pagination(**cursors)
    )


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _worker_answer(worker: WorkerView) -> WorkerAnswer:
    tasks = [
        TaskAnswer(
            id=task.id,
            slug=task.slug,
            filePath=task.file_path,
            exportName=task.export_name or None,
        )
        for task in worker.tasks
    ]
    return WorkerAnswer(id=worker.id, version=worker.version, tasks=tasks)
