"""Compute templates as rows: asked for, claimed, and what became of them.

Whoever asks the gateway holds a claim: a secret that also comes back with the gateway's callback,
and that ends by itself. All moments are the database's, so clocks of other machines do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import Count, F, Q, Value
from django.db.models.functions import Now

from compute.images import strip_digest
from deployments.hooks import announce_templates
from deployments.metrics import BUILD_SECONDS, TEMPLATES
from deployments.models.templates import ComputeTemplate
from deployments.models.versions import BackgroundWorker, CurrentVersion
from deployments.template_results import PresetState, errors_by_preset
from deployments.template_states import (
    TemplateEvent,
    TemplateState,
    decide_after_failure,
    next_template_state,
    pause_s,
)
from ledger.changes import VERSION
from ledger.ids import new_id
from ledger.services import ledger_write
from tenants.crypto import hash_secret, new_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from compute.contracts import TemplateCreateResponse
    from deployments.template_mode import TemplateDecision

log = structlog.get_logger(__name__)

CLAIMED_FOR: Final = timedelta(minutes=6)  # the gateway gets five
SENT_AGAIN_AFTER: Final = timedelta(seconds=30)
CLAIM_SALT: Final = "crossfade.compute-template"
ACTOR: Final = "system:compute-templates"
RESULTS: Final = {
    TemplateEvent.BUILT: "built",
    TemplateEvent.RETRY: "retry",
    TemplateEvent.GIVE_UP: "failed",
}
MAX_ERROR: Final = 2000  # characters
NEVER_BUILT: Final = "not built yet"

_S = TemplateState


TemplateKey = tuple[str, str]
"""A preset and a region."""


class InvalidClaim(Exception):
    """The claim is none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presets:
    """Which machines are prepared, and which of them a required deploy cannot do without."""

    names: tuple[str, ...]
    required: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The version templates are for."""

    worker_id: str
    environment_id: str
    image: str
    digest: str | None  # of its artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to build the templates of one version for one region."""

    secret: str  # signed, so that it can be told from a guess when it has ended
    worker_id: str
    image: str
    region: str
    presets: tuple[str, ...]


@transaction.atomic
def request_templates(
    version: Version,
    decision: TemplateDecision,
    *,
    presets: Presets,
    again: bool,
    announce: bool = True,
) -> int:
    """Ask for the templates a decision names; give how many have to be built.

    **Rule** What is ready stays, since a version's code never changes; what is being built goes on.
    With `again` what was given up is tried anew, without it is left alone. After the commit whoever
    builds is told, unless the caller is who builds: `announce` false.
    """
    wanted = [(preset, region) for region in decision.regions for preset in presets.names]
    said = {"mode": str(decision.mode), "reason": str(decision.reason)}
    ComputeTemplate.objects.bulk_create(
        [
            ComputeTemplate(
                id=new_id("template"),
                worker_id=version.worker_id,
                preset=preset,
                region=region,
                image=strip_digest(version.image),
                digest=version.digest,
                is_required=preset in presets.required,
                status=_S.PENDING,
                next_attempt_at=Now(),
                created_at=Now(),
                sent_at=Now(),
                **said,
            )
            for preset, region in wanted
        ],
        ignore_conflicts=True,
    )
    known = ComputeTemplate.objects.select_for_update().filter(worker_id=version.worker_id)
    rows = list(known.order_by("id"))
    if again:
        _renew(rows, presets, said)
    pending = [row for row in rows if row.status == _S.PENDING and row.region in decision.regions]
    for region in {row.region for row in pending} if announce else ():
        announce_templates(version.worker_id, region)
    return len(pending)


def _renew(rows: Iterable[ComputeTemplate], presets: Presets, said: Mapping[str, str]) -> None:
    """Try anew what was given up, and let every row say what holds for it now."""
    for row in rows:
        if row.status == _S.FAILED:
            _ask_again(row)
    other = [
        row.id
        for row in rows
        if (row.mode, row.reason) != (said["mode"], said["reason"])
        or row.is_required != (row.preset in presets.required)
    ]
    if other:
        ComputeTemplate.objects.filter(id__in=other).update(
            is_required=Q(preset__in=presets.required), **said
        )


@transaction.atomic
def take_back_ready(worker_id: str) -> int:
    """Ask anew for what is ready of a version; give how many. Runs find them not ready meanwhile.

    The caller tells the ledger, within the same transaction.
    """
    ready = ComputeTemplate.objects.select_for_update().filter(worker_id=worker_id)
    rows = list(ready.filter(status=_S.READY).order_by("id"))
    for row in rows:
        _ask_again(row)
    return len(rows)


@transaction.atomic
def claim_templates(worker_id: str, region: str) -> Claim | None:
    """Take what is due of a version in a region; None when there is nothing, or another has it."""
    due = list(
        ComputeTemplate.objects.select_for_update(skip_locked=True)
        .filter(worker_id=worker_id, region=region, status=_S.PENDING, next_attempt_at__lte=Now())
        .order_by("id")
    )
    if not due:
        return None
    claim = Claim(
        secret=_signer().sign(new_secret("claim_")),
        worker_id=worker_id,
        image=due[0].image,
        region=region,
        presets=tuple(row.preset for row in due),
    )
    ComputeTemplate.objects.filter(id__in=[row.id for row in due]).update(
        status=next_template_state(_S.PENDING, TemplateEvent.CLAIM),
        claim_sha256=hash_secret(claim.secret),
        claimed_until=Now() + Value(CLAIMED_FOR),
        attempts=F("attempts") + 1,
        started_at=Now(),
    )
    return claim


def check_claim(secret: str) -> None:
    """Raise `InvalidClaim` unless this is a claim we have given, over or not."""
    try:
        _signer().unsign(secret)
    except BadSignature as error:
        raise InvalidClaim from error


def record_results(secret: str, response: TemplateCreateResponse) -> int:
    """Store what a gateway said of a claim's templates; give how many were still claimed.

    Again, or after the claim has ended, changes nothing. What the gateway could not build is given
    up: it understood the request and said no.
    """
    with ledger_write(actor=ACTOR, source="template") as write:
        rows = _claimed(secret)
        errors = errors_by_preset((row.preset for row in rows), response)
        for row in rows:
            error = errors[row.preset]
            event = TemplateEvent.BUILT if error is None else TemplateEvent.GIVE_UP
            _end_attempt(row, event, error=error)
        if any(error is None for error in errors.values()):
            write.touch(VERSION, BackgroundWorker.objects.get(id=rows[0].worker_id).environment_id)
    _log(rows)
    return len(rows)


@transaction.atomic
def record_failure(secret: str, *, error: str, is_retryable: bool) -> int:
    """Store that a claim's request failed; give how many templates were still claimed."""
    rows = _claimed(secret)
    for row in rows:
        event = decide_after_failure(is_retryable=is_retryable, attempts=row.attempts)
        _end_attempt(row, event, error=error)
    _log(rows)
    return len(rows)


@transaction.atomic
def free_ended_claims() -> int:
    """Take back the claims of whoever said nothing in time; give how many. A reconciler's tick."""
    ended = ComputeTemplate.objects.select_for_update(skip_locked=True).filter(
        status=_S.BUILDING, claimed_until__lte=Now()
    )
    rows = list(ended)
    for row in rows:
        event = decide_after_failure(is_retryable=True, attempts=row.attempts)
        _end_attempt(row, event, error=row.error or "the gateway did not say what became of it")
    _log(rows)
    return len(rows)


@transaction.atomic
def send_due_templates(*, most: int) -> int:
    """Tell whoever builds of what is due and was not sent lately; give how many."""
    due = (
        ComputeTemplate.objects.select_for_update(skip_locked=True)
        .filter(
            Q(sent_at__isnull=True) | Q(sent_at__lte=Now() - Value(SENT_AGAIN_AFTER)),
            status=_S.PENDING,
            next_attempt_at__lte=Now(),
        )
        .order_by("next_attempt_at")[:most]
    )
    rows = list(due)
    ComputeTemplate.objects.filter(id__in=[row.id for row in rows]).update(sent_at=Now())
    for worker_id, region in {(row.worker_id, row.region): None for row in rows}:
        announce_templates(worker_id, region)
    return len(rows)


def preset_states(
    worker_id: str, regions: Iterable[str], presets: Presets
) -> tuple[PresetState, ...]:
    """Give what has become of a version's templates for these machines in these regions."""
    rows = ComputeTemplate.objects.filter(
        worker_id=worker_id, region__in=tuple(regions), preset__in=presets.names
    )
    return tuple(
        PresetState(row.preset, row.region, row.is_required, _error_of(row))
        for row in rows.order_by("region", "preset")
    )


def unfinished_regions(worker_id: str, regions: Iterable[str]) -> tuple[str, ...]:
    """Give the regions in which required presets of a version are still to be built."""
    rows = ComputeTemplate.objects.filter(
        worker_id=worker_id,
        region__in=tuple(regions),
        status__in=[_S.PENDING, _S.BUILDING],
        is_required=True,
    )
    return tuple(sorted(set(rows.values_list("region", flat=True))))


def list_templates_of(worker_ids: Iterable[str]) -> frozenset[tuple[str, TemplateKey]]:
    """Give which templates these versions have, in whatever state."""
    rows = ComputeTemplate.objects.filter(worker_id__in=tuple(worker_ids))
    listed = rows.values_list("worker_id", "preset", "region")
    return frozenset((worker_id, (preset, region)) for worker_id, preset, region in listed)


def count_current_templates() -> dict[str, int]:
    """Give how many templates of current versions are in each state, those of none included."""
    current = CurrentVersion.objects.values("worker_id")
    counted = (
        ComputeTemplate.objects.filter(worker_id__in=current)
        .order_by()
        .values_list("status")
        .annotate(count=Count("id"))
    )
    return {**{state.value: 0 for state in TemplateState}, **dict(counted)}


def _signer() -> Signer:
    return Signer(salt=CLAIM_SALT)


def _error_of(row: ComputeTemplate) -> str | None:
    return None if row.status == _S.READY else row.error or NEVER_BUILT


def _claimed(secret: str) -> list[ComputeTemplate]:
    claimed = ComputeTemplate.objects.select_for_update().filter(
        claim_sha256=hash_secret(secret), status=_S.BUILDING
    )
    return list(claimed.order_by("id"))


def _ask_again(row: ComputeTemplate) -> None:
    row.status = next_template_state(TemplateState(row.status), TemplateEvent.REQUEST)
    row.attempts, row.error = 0, None
    row.finished_at = None
    row.next_attempt_at = row.sent_at = Now()
    row.save()


def _end_attempt(row: ComputeTemplate, event: TemplateEvent, *, error: str | None) -> None:
    result = RESULTS[event]
    TEMPLATES.labels(mode=row.mode, preset=row.preset, result=result).inc()
    if row.started_at is not None:
        took_s = (datetime.now(UTC) - row.started_at).total_seconds()
        BUILD_SECONDS.labels(preset=row.preset, result=result).observe(max(0.0, took_s))
    row.status = next_template_state(TemplateState(row.status), event)
    row.error = None if error is None else error.replace("\x00", "\ufffd")[:MAX_ERROR]
    row.claim_sha256 = row.claimed_until = None
    if event is TemplateEvent.RETRY:
        row.next_attempt_at = Now() + Value(timedelta(seconds=pause_s(row.attempts)))
    else:
        row.finished_at = Now()
    row.save()


def _log(rows: Iterable[ComputeTemplate]) -> None:
    for row in rows:
        log.info(
            "compute_template.moved",
            template_id=row.id,
            worker_id=row.worker_id,
            preset=row.preset,
            region=row.region,
            status=str(row.status),
            attempts=row.attempts,
            error=row.error,
        )
