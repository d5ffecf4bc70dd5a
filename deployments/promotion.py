"""Finishing a deployment, and deciding which version new runs of an environment use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from deployments.deployment_errors import (
    ArtifactMissing,
    Overtaken,
    PromotionRefused,
    UnknownDeployment,
)
from deployments.deployment_lines import note_line
from deployments.deployment_states import DeploymentEvent, DeploymentState, next_state
from deployments.deployment_views import DeploymentView, EnvironmentScope, deployment_view
from deployments.hooks import announce_version
from deployments.lifecycle import image_name, locked_deployment, move_deployment
from deployments.models.versions import Artifact, BackgroundWorker, CurrentVersion, Deployment
from deployments.version_selectors import get_deployment
from deployments.versions import is_newer
from ledger.services import ledger_write

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.services import LedgerWrite

log = structlog.get_logger(__name__)

IS_CURRENT: Final = "Became the current version: new runs use it"


def finalize_deployment(
    *,
    scope: EnvironmentScope,
    deployment_id: str,
    skip_promotion: bool | None,
    image_digest: str | None,
    actor: str,
    now: datetime,
    request_id: str | None = None,
) -> DeploymentView:
    """Complete a deployment and make its version the current one; again changes nothing.

    **Rule** A deployment that is finalized after a newer one became current is deployed and not
    promoted. `skip_promotion` None means what the deployment said when it began.
    **Raises** `IllegalMove` in any state but DEPLOYING and DEPLOYED,
    `ArtifactMissing` when its bytes are not here, `UnknownDeployment`.
    """
    with ledger_write(actor=actor, source="deploy", request_id=request_id, now=now) as write:
        row = locked_deployment(scope, deployment_id)
        if row.status == DeploymentState.DEPLOYED:
            return deployment_view(row)
        worker = _complete(row, scope, image_digest=image_digest, actor=actor, now=now)
        skip = row.skip_promotion if skip_promotion is None else skip_promotion
        if not skip and _goes_forward(worker):
            make_current(write, worker=worker, organization_id=scope.organization_id, now=now)
        note_line(row.id, _standing_text(worker, skip=skip), at=now)
    log.info("deployment.finalized", deployment_id=row.id, version=row.version, actor=actor)
    return deployment_view(row)


def check_finalizable(*, scope: EnvironmentScope, deployment_id: str) -> DeploymentView:
    """Give the deployment that `finalize_deployment` would take, or raise what it would raise.

    For answers that begin before the work is done.
    """
    view, _ = get_deployment(scope=scope, deployment_id=deployment_id)
    if view.status != DeploymentState.DEPLOYED:
        next_state(view.status, DeploymentEvent.FINALIZE)
    return view


def startable_image(
    *, scope: EnvironmentScope, deployment_id: str, image_digest: str | None
) -> str | None:
    """Give the image that a deployment will have once it is finalized; None: nothing to start.

    **Raises** `ArtifactMissing` as `finalize_deployment` does, `UnknownDeployment`.
    """
    row = Deployment.objects.filter(id=deployment_id, environment_id=scope.environment_id).first()
    if row is None:
        raise UnknownDeployment(f'There is no deployment "{deployment_id}" in this environment')
    _uploaded_artifact(row)
    return _final_image(row, scope, image_digest)


def promote_version(
    *,
    scope: EnvironmentScope,
    version: str,
    allow_rollback: bool,
    actor: str,
    now: datetime,
    seen: str | None = None,
    source: str = "promote",
    reason: str | None = None,
    request_id: str | None = None,
) -> DeploymentView:
    """Make a deployed version the current one; promoting the current one changes nothing.

    **Args** `seen` is the version the caller decided by, "" for none; None: whatever is current.
    **Raises** `PromotionRefused` when it is not deployed, or older than the current version and
    `allow_rollback` is false; `Overtaken` when another one than `seen` is current;
    `UnknownDeployment`.
    """
    with ledger_write(
        actor=actor, source=source, reason=reason, request_id=request_id, now=now
    ) as write:
        row = _deployment_of(scope, version)
        worker = _promotable_worker(row)
        if not allow_rollback and not _goes_forward(worker):
            raise PromotionRefused(f"Version {version} is older than the current version")
        if seen is not None:
            _check_seen(worker, seen)
        if make_current(write, worker=worker, organization_id=scope.organization_id, now=now):
            note_line(row.id, IS_CURRENT, at=now, actor=actor)
    return deployment_view(row)


def make_current(
    write: LedgerWrite, *, worker: BackgroundWorker, organization_id: str, now: datetime
) -> bool:
    """Point an environment to a version within a ledger write, and tell whoever listens.

    Give whether that changed anything.
    """
    current = _current_of(worker.environment_id)
    if current is not None and current.worker_id == worker.id:
        return False
    CurrentVersion.objects.update_or_create(
        environment_id=worker.environment_id, defaults={"worker": worker, "promoted_at": now}
    )
    write.record(
        scope=f"environment:{worker.environment_id}",
        key="currentVersion",
        old=None if current is None else current.worker.version,
        new=worker.version,
        org=organization_id,
    )
    write.touch("version", worker.environment_id)
    announce_version(worker.environment_id, worker.id)
    return True


def _complete(
    row: Deployment,
    scope: EnvironmentScope,
    *,
    image_digest: str | None,
    actor: str,
    now: datetime,
) -> BackgroundWorker:
    next_state(DeploymentState(row.status), DeploymentEvent.FINALIZE)  # a wrong state goes first
    changes = {
        "deployed_at": now,
        "artifact": _uploaded_artifact(row),
        "image_reference": _final_image(row, scope, image_digest),
    }
    move_deployment(row, DeploymentEvent.FINALIZE, changes=changes, actor=actor, now=now)
    return BackgroundWorker.objects.get(deployment=row)


def _uploaded_artifact(row: Deployment) -> Artifact | None:
    if row.artifact_digest is None:
        return None
    artifact = Artifact.objects.filter(
        project_id=row.project_id, digest=row.artifact_digest, uploaded_at__isnull=False
    ).first()
    if artifact is None:
        raise ArtifactMissing(f"The artifact {row.artifact_digest} has not been uploaded")
    return artifact


def _final_image(row: Deployment, scope: EnvironmentScope, image_digest: str | None) -> str | None:
    """Give the image to start: of the artifact, or the pushed one pinned by its digest."""
    if row.image_reference is not None or image_digest is None:
        return row.image_reference
    name = image_name(project_ref=scope.project_ref, version=row.version, artifact_digest=None)
    return f"{name}@{image_digest}"


def _deployment_of(scope: EnvironmentScope, version: str) -> Deployment:
    row = (
        Deployment.objects.select_for_update()
        .filter(environment_id=scope.environment_id, version=version)
        .first()
    )
    if row is None:
        raise UnknownDeployment(f'There is no version "{version}" in this environment')
    return row


def _promotable_worker(row: Deployment) -> BackgroundWorker:
    worker = BackgroundWorker.objects.filter(deployment=row).first()
    if worker is None or row.status != DeploymentState.DEPLOYED:
        raise PromotionRefused(f"Version {row.version} is {row.status}, not DEPLOYED")
    return worker


def _current_of(environment_id: str) -> CurrentVersion | None:
    return (
        CurrentVersion.objects.select_related("worker")
        .filter(environment_id=environment_id)
        .first()
    )


def _check_seen(worker: BackgroundWorker, seen: str) -> None:
    current = _current_of(worker.environment_id)
    version = "" if current is None else current.worker.version
    if version not in {seen, worker.version}:
        raise Overtaken(f"Meanwhile {version or 'none'} became the current version")


def _standing_text(worker: BackgroundWorker, *, skip: bool) -> str:
    current = _current_of(worker.environment_id)
    if current is not None and current.worker_id == worker.id:
        return IS_CURRENT
    if skip:
        return "It was not to become the current version"
    return "A newer version is current, and stays it"


def _goes_forward(worker: BackgroundWorker) -> bool:
    current = _current_of(worker.environment_id)
    return current is None or not is_newer(current.worker.version, worker.version)
