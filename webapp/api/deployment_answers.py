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
    short_code: str


class InitializedAnswer(Answer):
    """The deployment a deploy goes on with."""

    id: str
    content_hash: str
    short_code: str
    version: str
    image_tag: str
    image_platform: str = IMAGE_PLATFORM
    external_id: str | None = None
    outcome: str
    is_promoted: bool
    canceled_deployments: list[CanceledAnswer] | None = None


class TaskAnswer(Answer):
    """A task of a version."""

    id: str
    slug: str
    file_path: str
    export_name: str | None = None


class WorkerAnswer(Answer):
    """The version of a deployment."""

    id: str
    version: str
    tasks: list[TaskAnswer]


class DeploymentAnswer(Answer):
    """One deployment, with its tasks once they are registered."""

    id: str
    status: str
    content_hash: str
    short_code: str
    version: str
    image_reference: str | None = None
    image_platform: str = IMAGE_PLATFORM
    external_id: str | None = None
    error_data: dict[str, Any] | None = None
    worker: WorkerAnswer | None = None


class DeploymentItem(Answer):
    """One deployment of a list; sent without its unset fields, see `deployment_item`."""

    id: str
    created_at: Instant
    short_code: str
    version: str
    runtime: str | None
    runtime_version: str | None
    status: str
    deployed_at: Instant | None = None
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
    content_hash: str


class DeploymentId(Answer):
    """Which deployment a call was about."""

    id: str


class PromotedAnswer(Answer):
    """The version that is current now."""

    id: str
    version: str
    short_code: str


class UploadAnswer(Answer):
    """Where an artifact's bytes go; with `exists` they are here already."""

    url: str
    exists: bool | None = None


def initialized_answer(done: Initialized, *, image_tag: str) -> InitializedAnswer:
    """Give the answer to a begun deployment."""
    view = done.deployment
    canceled = [
        CanceledAnswer(id=c.id, version=c.version, short_code=c.short_code) for c in done.canceled
    ]
    return InitializedAnswer(
        id=view.id,
        content_hash=view.content_hash,
        short_code=view.short_code,
        version=view.version,
        image_tag=image_tag,
        external_id=view.external_id,
        outcome=done.outcome,
        is_promoted=done.is_promoted,
        canceled_deployments=canceled or None,
    )


def deployment_answer(view: DeploymentView, worker: WorkerView | None) -> DeploymentAnswer:
    """Give the answer that shows one deployment."""
    return DeploymentAnswer(
        id=view.id,
        status=view.status,
        content_hash=view.content_hash,
        short_code=view.short_code,
        version=view.version,
        image_reference=view.image_reference,
        external_id=view.external_id,
        error_data=None if view.error is None else dict(view.error),
        worker=None if worker is None else _worker_answer(worker),
    )


def deployment_item(view: DeploymentView) -> DeploymentItem:
    """Give one deployment of a list; runtimes are null while unknown, the others left out."""
    optional = {"deployed_at": view.deployed_at, "git": view.git, "error": view.error}
    return DeploymentItem(
        id=view.id,
        created_at=view.created_at,
        short_code=view.short_code,
        version=view.version,
        runtime=view.runtime,
        runtime_version=view.runtime_version,
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
            file_path=task.file_path,
            export_name=task.export_name or None,
        )
        for task in worker.tasks
    ]
    return WorkerAnswer(id=worker.id, version=worker.version, tasks=tasks)
