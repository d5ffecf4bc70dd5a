"""Building the templates of a deployed version anew, when staff ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.compute_templates import request_templates, take_back_ready
from deployments.deployment_errors import UnknownDeployment
from deployments.deployment_states import DeploymentState
from deployments.models.versions import Deployment
from deployments.template_mode import TemplateMode
from deployments.template_subjects import find_subject, read_world, template_presets
from deployments.template_views import list_version_templates
from ledger.changes import VERSION
from ledger.services import ledger_write
from tenants.errors import Conflict

if TYPE_CHECKING:
    from datetime import datetime

    from deployments.template_subjects import TemplateSubject
    from deployments.template_views import TemplateView

KEY: Final = "templates"


class NothingToRebuild(Conflict):
    """The version needs no templates, or has never been deployed."""


class Rebuilt(NamedTuple):
    """What was asked for."""

    asked: int  # templates that are to be built and were not before
    templates: tuple[TemplateView, ...]  # all of the version, as they are now


def rebuild_templates(
    deployment_id: str,
    *,
    includes_ready: bool,
    actor: str,
    source: str,
    reason: str | None,
    request_id: str | None = None,
    now: datetime | None = None,
) -> Rebuilt:
    """Ask anew for the templates that a version needs and has not; the gateway is asked beside.

    **Rule** What was given up is tried again and what is missing is added; what waits or is being
    built goes on, so asking twice is asking once. With `includes_ready` those that are ready are
    built again as well, and count as not ready until they are: for a gateway that lost them. What
    changes is one audit row of the deployment, with the states before and after.
    **Raises** `UnknownDeployment`, `NothingToRebuild`.
    """
    subject = _deployed(deployment_id)
    image, decision = subject.image, read_world().decide(subject, image=subject.image)
    if decision.mode is TemplateMode.SKIP or image is None:
        raise NothingToRebuild(f"This version needs no templates: {decision.reason}")
    with ledger_write(
        actor=actor, source=source, reason=reason, request_id=request_id, now=now
    ) as write:
        before = _states(subject)
        if includes_ready and take_back_ready(subject.worker_id):
            write.touch(VERSION, subject.environment_id)
        request_templates(subject.version(image), decision, presets=template_presets(), again=True)
        after = _states(subject)
        write.record(
            scope=f"deployment:{deployment_id}",
            key=KEY,
            old=before,
            new=after,
            org=subject.organization.id,
        )
    asked = sum(before.get(key) != state for key, state in after.items())
    return Rebuilt(asked, tuple(list_version_templates(subject.worker_id)))


def _deployed(deployment_id: str) -> TemplateSubject:
    row = Deployment.objects.filter(id=deployment_id).first()
    if row is None:
        raise UnknownDeployment(f'There is no deployment "{deployment_id}"')
    subject = find_subject(deployment_id)
    if row.status != DeploymentState.DEPLOYED or subject is None:
        raise NothingToRebuild("Only the templates of a deployed version can be built again")
    return subject


def _states(subject: TemplateSubject) -> dict[str, str]:
    """Give the state of each template by its preset and region."""
    return {
        f"{row.preset} {row.region}": row.status.value
        for row in list_version_templates(subject.worker_id)
    }
