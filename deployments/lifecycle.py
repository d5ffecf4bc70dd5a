"""Deployments from their announcement to their end, all but registering and promoting.

Every move locks the deployment's row, so that of two callers one is refused.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog
from django.db import transaction

from deployments.deployment_errors import UnknownDeployment
from deployments.deployment_lines import note_line
from deployments.deployment_states import DeploymentEvent, DeploymentState, next_state
from deployments.deployment_views import DeploymentView, EnvironmentScope, deployment_view
from deployments.models.versions import UNFINISHED_STATES, CurrentVersion, Deployment
from deployments.version_allocation import allocate_version, lock_versions
from ledger.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

log = structlog.get_logger(__name__)

SHORT_CODE_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
SHORT_CODE_LENGTH: Final = 8
DIGEST_IN_IMAGE: Final = 12  # hex digits
DEPLOY_TIMEOUT: Final = timedelta(minutes=8)

# An answer may be lost on the wire, so asking again for the state it is in changes nothing.
REPEATABLE: Final = {
    DeploymentEvent.BUILD: DeploymentState.BUILDING,
    DeploymentEvent.FAIL: DeploymentState.FAILED,
    DeploymentEvent.CANCEL: DeploymentState.CANCELED,
}
SAID: Final = {
    DeploymentEvent.INSTALL: "Installing dependencies",
    DeploymentEvent.BUILD: "Building",
    DeploymentEvent.REGISTER: "The tasks and queues are registered",
    DeploymentEvent.FINALIZE: "Deployed",
    DeploymentEvent.FAIL: "Failed",
    DeploymentEvent.CANCEL: "Canceled",
    DeploymentEvent.TIME_OUT: "Timed out: nobody finished it",
}
"""What the log of a deployment says of each move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequest:
    """What a deploy says of itself when it begins."""

    content_hash: str
    artifact_digest: str | None = None  # sha256:<hex>; uploaded before it is finalized
    runtime: str | None = None
    runtime_version: str | None = None
    git: Mapping[str, Any] | None = None
    external_id: str | None = None
    triggered_via: str | None = None
    skip_promotion: bool = False
    force: bool = False  # deploy again although the external id is deployed
    starts_pending: bool = False  # a builder picks it up later; else it is being built now
    request_key: str | None = None  # of this call: its repeat is answered with what it began


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialized:
    """The deployment a deploy goes on with."""

    deployment: DeploymentView
    outcome: Literal["created", "existing"]  # existing: deployed before under the external id
    is_promoted: bool  # it is the environment's current version
    canceled: tuple[DeploymentView, ...] = ()  # unfinished ones of the same external id


def image_name(*, project_ref: str, version: str, artifact_digest: str | None) -> str:
    """Give the name of a version's image: the version, and which artifact it carries, if any."""
    name = f"crossfade/{project_ref}:{version}"
    if artifact_digest is None:
        return name
    return f"{name}-{artifact_digest.removeprefix('sha256:')[:DIGEST_IN_IMAGE]}"


@transaction.atomic
def initialize_deployment(
    *, scope: EnvironmentScope, request: DeploymentRequest, actor: str, now: datetime
) -> Initialized:
    """Begin a deployment with the environment's next version.

    **Rule** A call whose answer was lost is answered again. An external id that is deployed already
    is answered with that deployment, unless the request forces another; unfinished deployments of
    the same external id are canceled.
    """
    lock_versions(scope.environment_id)
    begun = _begun_before(scope, request)
    if begun is not None:
        return Initialized(
            deployment=deployment_view(begun), outcome="created", is_promoted=_is_current(begun)
        )
    existing = _deployed_before(scope, request)
    if existing is not None:
        return Initialized(
            deployment=deployment_view(existing),
            outcome="existing",
            is_promoted=_is_current(existing),
        )
    canceled = _cancel_unfinished(scope, request, actor=actor, now=now)
    created = Deployment.objects.create(**_new_row(scope, request, now=now), created_by=actor)
    note_line(created.id, f"Version {created.version} was begun", at=now, actor=actor)
    log.info(
        "deployment.initialized", deployment_id=created.id, version=created.version, actor=actor
    )
    return Initialized(
        deployment=deployment_view(created), outcome="created", is_promoted=False, canceled=canceled
    )


@transaction.atomic
def progress_deployment(
    *, scope: EnvironmentScope, deployment_id: str, actor: str, now: datetime
) -> DeploymentView:
    """Move a waiting deployment on: to INSTALLING, and from there to BUILDING.

    Raises `IllegalMove` in any other state.
    """
    row = locked_deployment(scope, deployment_id)
    if row.status == DeploymentState.PENDING:
        move_deployment(row, DeploymentEvent.INSTALL, actor=actor, now=now)
    else:
        changes = {"started_building_at": now}
        move_deployment(row, DeploymentEvent.BUILD, changes=changes, actor=actor, now=now)
    log.info("deployment.moved", deployment_id=row.id, status=str(row.status), actor=actor)
    return deployment_view(row)


def start_building(
    *, scope: EnvironmentScope, deployment_id: str, actor: str, now: datetime
) -> DeploymentView:
    """Say that the code is being built; one that is built already stays as it is."""
    changes = {"started_building_at": now}
    return _apply(
        scope, deployment_id, DeploymentEvent.BUILD, actor=actor, changes=changes, now=now
    )


def fail_deployment(
    *,
    scope: EnvironmentScope,
    deployment_id: str,
    error: Mapping[str, Any],
    actor: str,
    now: datetime,
) -> DeploymentView:
    """End a deployment whose builder gave up; `error` is `{name, message, stack?, stderr?}`.

    A failed one stays as it is; another end raises `IllegalMove`.
    """
    changes = {"error": dict(error), "failed_at": now}
    return _apply(scope, deployment_id, DeploymentEvent.FAIL, actor=actor, changes=changes, now=now)


def cancel_deployment(
    *, scope: EnvironmentScope, deployment_id: str, reason: str | None, actor: str, now: datetime
) -> DeploymentView:
    """Call a deployment off; a canceled one stays as it is, another end raises `IllegalMove`."""
    changes = {"canceled_at": now, "cancel_reason": reason}
    return _apply(
        scope, deployment_id, DeploymentEvent.CANCEL, actor=actor, changes=changes, now=now
    )


@transaction.atomic
def time_out_deployments(*, now: datetime, timeout: timedelta = DEPLOY_TIMEOUT) -> int:
    """End every deployment that nobody finished in time; give how many. A reconciler's tick."""
    late = Deployment.objects.filter(
        status__in=UNFINISHED_STATES, created_at__lt=now - timeout
    ).select_for_update(skip_locked=True)
    minutes = timeout.total_seconds() / 60
    message = f"The deployment was not finished within {minutes:g} minutes"
    error = {"name": "TimeoutError", "message": message}
    for row in late:
        changes = {"error": error, "failed_at": now}
        move_deployment(row, DeploymentEvent.TIME_OUT, changes=changes, actor=None, now=now)
        log.warning("deployment.timed_out", deployment_id=row.id)
    return len(late)


def locked_deployment(scope: EnvironmentScope, deployment_id: str) -> Deployment:
    """Give a deployment's row, locked until the transaction ends, or raise `UnknownDeployment`."""
    row = (
        Deployment.objects.select_for_update()
        .filter(id=deployment_id, environment_id=scope.environment_id)
        .first()
    )
    if row is None:
        raise UnknownDeployment(f'There is no deployment "{deployment_id}" in this environment')
    return row


def move_deployment(
    row: Deployment,
    event: DeploymentEvent,
    *,
    changes: Mapping[str, Any] = MappingProxyType({}),
    actor: str | None,
    now: datetime,
) -> Deployment:
    """Move a locked deployment by the table, store what goes with it, and say so in its log."""
    row.status = next_state(DeploymentState(row.status), event)
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=["status", *changes])
    why = f": {row.cancel_reason}" if event is DeploymentEvent.CANCEL and row.cancel_reason else ""
    note_line(row.id, f"{SAID[event]}{why}", at=now, actor=actor)
    return row


@transaction.atomic
def _apply(
    scope: EnvironmentScope,
    deployment_id: str,
    event: DeploymentEvent,
    *,
    actor: str,
    changes: Mapping[str, Any],
    now: datetime,
) -> DeploymentView:
    row = locked_deployment(scope, deployment_id)
    if row.status == REPEATABLE.get(event):
        return deployment_view(row)
    move_deployment(row, event, changes=changes, actor=actor, now=now)
    log.info("deployment.moved", deployment_id=row.id, status=str(row.status), actor=actor)
    return deployment_view(row)


def _begun_before(scope: EnvironmentScope, request: DeploymentRequest) -> Deployment | None:
    if request.request_key is None:
        return None
    return Deployment.objects.filter(
        environment_id=scope.environment_id, request_key=request.request_key
    ).first()


def _is_current(row: Deployment) -> bool:
    return CurrentVersion.objects.filter(worker__deployment=row).exists()


def _deployed_before(scope: EnvironmentScope, request: DeploymentRequest) -> Deployment | None:
    if request.external_id is None or request.force:
        return None
    return (
        Deployment.objects.filter(
            environment_id=scope.environment_id,
            external_id=request.external_id,
            status=DeploymentState.DEPLOYED,
        )
        .order_by("-id")
        .first()
    )


def _cancel_unfinished(
    scope: EnvironmentScope, request: DeploymentRequest, *, actor: str, now: datetime
) -> tuple[DeploymentView, ...]:
    if request.external_id is None:
        return ()
    unfinished = (
        Deployment.objects.select_for_update()
        .filter(
            environment_id=scope.environment_id,
            external_id=request.external_id,
            status__in=UNFINISHED_STATES,
        )
        .order_by("id")
    )
    changes = {"canceled_at": now, "cancel_reason": "A newer deployment took its place"}
    return tuple(
        deployment_view(
            move_deployment(row, DeploymentEvent.CANCEL, changes=changes, actor=actor, now=now)
        )
        for row in unfinished
    )


def _new_row(
    scope: EnvironmentScope, request: DeploymentRequest, *, now: datetime
) -> dict[str, Any]:
    version = allocate_version(environment_id=scope.environment_id, now=now)
    digest = request.artifact_digest
    image = image_name(project_ref=scope.project_ref, version=version, artifact_digest=digest)
    return {
        "id": new_id("deployment"),
        "environment_id": scope.environment_id,
        "project_id": scope.project_id,
        "version": version,
        "short_code": "".join(secrets.choice(SHORT_CODE_LETTERS) for _ in range(SHORT_CODE_LENGTH)),
        "content_hash": request.content_hash,
        "status": DeploymentState.PENDING if request.starts_pending else DeploymentState.BUILDING,
        "image_reference": None if digest is None else image,
        "artifact_digest": digest,
        "runtime": request.runtime,
        "runtime_version": request.runtime_version,
        "git": None if request.git is None else dict(request.git),
        "external_id": request.external_id,
        "triggered_via": request.triggered_via,
        "skip_promotion": request.skip_promotion,
        "request_key": request.request_key,
        "created_at": now,
        "started_building_at": None if request.starts_pending else now,
    }
