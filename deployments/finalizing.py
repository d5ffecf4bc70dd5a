"""Completing a deployment together with its compute templates.

Required: the templates are built first, while the caller waits; without them the deployment fails.
Shadow: the deployment is completed first; what then goes wrong with a template is logged, left to
the reconciler, and never the deploy's concern.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Never

import structlog
from django.conf import settings
from django.db import transaction

from deployments.compute_templates import free_ended_claims, request_templates
from deployments.deployment_errors import TemplateCreationFailed
from deployments.deployment_lines import note_line
from deployments.deployment_states import DeploymentState, IllegalMove
from deployments.lifecycle import fail_deployment
from deployments.metrics import DECIDED
from deployments.promotion import check_finalizable, finalize_deployment, startable_image
from deployments.template_building import BUILD_TIMEOUT_S, build_templates
from deployments.template_mode import TemplateMode
from deployments.template_results import count_built, failure_text, warnings_of
from deployments.template_selectors import preset_states, unfinished_regions
from deployments.template_span import template_span
from deployments.template_subjects import (
    find_subject,
    read_world,
    template_gateway,
    template_presets,
)
from deployments.waiting_deploys import WAITING
from ledger.connections import release_connections

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from deployments.compute_templates import Presets, Version
    from deployments.deployment_views import DeploymentView, EnvironmentScope
    from deployments.template_mode import TemplateDecision
    from deployments.template_span import TemplateSpan

log = structlog.get_logger(__name__)

RESULTS: Final = {
    TemplateMode.SKIP: "skipped",
    TemplateMode.SHADOW: "shadow_dispatched",
    TemplateMode.REQUIRED: "created",
}
LOOK_S: Final = 0.25  # between two looks at the rows of a template that another builds


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalize:
    """A request to complete a deployment."""

    scope: EnvironmentScope
    deployment_id: str
    skip_promotion: bool | None  # None: as the deployment said when it began
    image_digest: str | None
    actor: str
    clock: Callable[[], datetime]  # aware UTC; what is noted is when it happened, after any wait
    request_id: str | None = None


def finalize_with_templates(
    wanted: Finalize,
    *,
    report: Callable[[str], None],
    build_timeout_s: float = BUILD_TIMEOUT_S,
) -> DeploymentView:
    """Complete a deployment; `report` is told, line by line, what takes its time.

    **Raises** what `finalize_deployment` raises; `TemplateCreationFailed` when a template that is
    required could not be built: the deployment has failed then; `TooManyWaiting` when it would have
    to wait and too many do: it can be finalized later.
    """
    asked = _ask(wanted)
    if asked is None:
        return _finalize(wanted)
    decision, presets = asked.decision, template_presets()
    report = _kept(wanted, report)
    with (
        _place(decision),
        template_span(wanted.deployment_id, decision, presets) as span,
    ):
        if decision.mode is TemplateMode.REQUIRED:
            deadline_s = time.monotonic() + build_timeout_s
            _require(wanted, asked, presets, span, report=report, deadline_s=deadline_s)
        with transaction.atomic():  # one commit: a shadow template makes nobody wait for another
            done = _finalize(wanted)
            if decision.mode is TemplateMode.SHADOW:
                _ask_in_shadow(asked.version, decision, presets)
        span.note_result(RESULTS[decision.mode])
    _note(wanted, decision, RESULTS[decision.mode])
    return done


def check_place(wanted: Finalize) -> None:
    """Raise `TooManyWaiting` when the deploy would have to wait and there is no place to.

    For those who begin their answer before the work begins. It is a first look: a place may be
    taken meanwhile.
    """
    if not WAITING.is_full(settings.ENV.templates.max_waiting_deploys):
        return
    asked = _ask(wanted)
    if asked is not None:
        with _place(asked.decision):
            return


class _Asked(NamedTuple):
    """What a deploy needs, and of what."""

    version: Version
    decision: TemplateDecision


def _ask(wanted: Finalize) -> _Asked | None:
    """Decide about the templates of a deploy; None: it is done already, or has no version."""
    view = check_finalizable(scope=wanted.scope, deployment_id=wanted.deployment_id)
    subject = find_subject(wanted.deployment_id)
    if view.status == DeploymentState.DEPLOYED or subject is None:
        return None
    image = startable_image(
        scope=wanted.scope,
        deployment_id=wanted.deployment_id,
        image_digest=wanted.image_digest,
    )
    return _Asked(subject.version(image or ""), read_world().decide(subject, image=image))


def _place(decision: TemplateDecision) -> AbstractContextManager[None]:
    """Give the place that a deploy waits in; one that does not wait needs none."""
    if decision.mode is not TemplateMode.REQUIRED:
        return nullcontext()
    return WAITING.place(settings.ENV.templates.max_waiting_deploys)


def _kept(wanted: Finalize, report: Callable[[str], None]) -> Callable[[str], None]:
    """Let each line that is told stand in the deployment's log, too."""

    def tell(line: str) -> None:
        note_line(wanted.deployment_id, line, at=wanted.clock())
        report(line)

    return tell


def _note(wanted: Finalize, decision: TemplateDecision, result: str) -> None:
    DECIDED.labels(mode=decision.mode, reason=decision.reason, result=result).inc()
    log.info(
        "deployment.template",
        deployment_id=wanted.deployment_id,
        mode=str(decision.mode),
        migrated=decision.is_migrated,
        reason=str(decision.reason),
        regions=decision.regions,
        result=result,
    )


def _require(
    wanted: Finalize,
    asked: _Asked,
    presets: Presets,
    span: TemplateSpan,
    *,
    report: Callable[[str], None],
    deadline_s: float,
) -> None:
    """Have the templates built, or fail the deployment; `deadline_s` is monotonic."""
    version, decision = asked
    report(f"Preparing the code for {', '.join(presets.names)}")
    request_templates(version, decision, presets=presets, again=True, announce=False)
    _wait_until_built(wanted, version, decision, deadline_s=deadline_s)
    # Who was called off meanwhile has its end, and nothing more is said of it.
    check_finalizable(scope=wanted.scope, deployment_id=wanted.deployment_id)
    states = preset_states(version.worker_id, decision.regions, presets)
    span.note_built(count_built(states))
    for line in warnings_of(states):
        report(line)
    failure = failure_text(states)
    if failure:
        _note(wanted, decision, "failed")
        _fail(wanted, f"The code could not be prepared: {failure}")
    report("The code is prepared")


def _wait_until_built(
    wanted: Finalize, version: Version, decision: TemplateDecision, *, deadline_s: float
) -> None:
    """Build what is due, and wait for what another builds, until the deadline.

    A deployment that was called off meanwhile raises `IllegalMove`.
    """
    gateway = template_gateway()
    while regions := unfinished_regions(version.worker_id, decision.regions):
        check_finalizable(scope=wanted.scope, deployment_id=wanted.deployment_id)
        free_ended_claims()  # of a process that was killed while it built
        for region in regions:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return
            build_templates(gateway, version.worker_id, region, background=False, timeout_s=left_s)
        if unfinished_regions(version.worker_id, decision.regions):
            release_connections()
            time.sleep(LOOK_S)


def _fail(wanted: Finalize, message: str) -> Never:
    error = {"name": TemplateCreationFailed.__name__, "message": message}
    try:
        fail_deployment(
            scope=wanted.scope,
            deployment_id=wanted.deployment_id,
            error=error,
            actor=wanted.actor,
            now=wanted.clock(),
        )
    except IllegalMove as ended:  # canceled or timed out meanwhile: that end stays
        log.info("deployment.ended_otherwise", deployment_id=wanted.deployment_id, how=str(ended))
    raise TemplateCreationFailed(message)


def _finalize(wanted: Finalize) -> DeploymentView:
    return finalize_deployment(
        scope=wanted.scope,
        deployment_id=wanted.deployment_id,
        skip_promotion=wanted.skip_promotion,
        image_digest=wanted.image_digest,
        actor=wanted.actor,
        now=wanted.clock(),
        request_id=wanted.request_id,
    )


def _ask_in_shadow(version: Version, decision: TemplateDecision, presets: Presets) -> None:
    try:
        request_templates(version, decision, presets=presets, again=True)
    except Exception as error:  # the deployment is done; the reconciler finds what is missing
        log.exception("deployment.shadow_failed", worker_id=version.worker_id, error=str(error))
