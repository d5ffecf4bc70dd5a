"""Compute templates as rows: asked for, claimed, and what became of them.

Whoever asks the gateway holds a claim: a secret that also comes back with the gateway's callback,
and that ends by itself. All moments are the database's, so clocks of other machines do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Now

from compute.images import strip_digest
from compute.logs import redact_text
from deployments.hooks import announce_templates
from deployments.metrics import BUILD_SECONDS, TEMPLATES
from deployments.models.templates import ComputeTemplate
from deployments.models.versions import BackgroundWorker, CurrentVersion
from deployments.template_results import errors_by_preset
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
    from collections.abc import Iterable, Mapping, Sequence

    from compute.contracts import TemplateCreateResponse
    from deployments.template_mode import TemplateDecision

log = structlog.get_logger(__name__)

CLAIMED_FOR: Final = timedelta(minutes=6)  # the gateway gets five
RENEWED_AFTER: Final = timedelta(minutes=5)
SENT_AGAIN_AFTER: Final = timedelta(seconds=30)
CLAIM_SALT: Final = "crossfade.compute-template"
ACTOR: Final = "system:compute-templates"
RESULTS: Final = {
    TemplateEvent.BUILT: "built",
    TemplateEvent.RETRY: "retry",
    TemplateEvent.GIVE_UP: "failed",
}
ENDS: Final = (
    "status", "error", "public_error", "may_pass", "claim_sha256", "claimed_until",
    "next_attempt_at", "finished_at",
)  # fmt: skip
MAX_ERROR: Final = 2000  # characters

_S = TemplateState


class Trouble(NamedTuple):
    """What went wrong with a template."""

    error: str  # for operators: the gateway's own words, whatever they give away
    public: str  # for whoever deploys
    may_pass: bool = False  # another attempt may help


NO_WORD: Final = "nobody said what became of it"


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
            # It is about their code: whoever deploys has to read it.
            _end_attempt(row, event, None if error is None else Trouble(error, error))
        _save(rows)
        if any(error is None for error in errors.values()):
            write.touch(VERSION, BackgroundWorker.objects.get(id=rows[0].worker_id).environment_id)
    _log(rows)
    return len(rows)


@transaction.atomic
def record_failure(secret: str, trouble: Trouble) -> int:
    """Store that a claim's request failed; give how many templates were still claimed."""
    rows = _claimed(secret)
    for row in rows:
        event = decide_after_failure(is_retryable=trouble.may_pass, attempts=row.attempts)
        _end_attempt(row, event, trouble)
    _save(rows)
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
        told = row.error or NO_WORD, row.public_error or NO_WORD
        _end_attempt(row, event, Trouble(*told, may_pass=True))
    _save(rows)
    _log(rows)
    return len(rows)


@transaction.atomic
def renew_given_up(*, most: int) -> int:
    """Ask anew for what the versions that runs use lack for want of a gateway; give how many.

    An outage that lasted longer than the attempts did costs time only. A reconciler's tick.
    """
    given_up = (
        ComputeTemplate.objects.select_for_update(skip_locked=True)
        .filter(
            status=_S.FAILED,
            may_pass=True,
            finished_at__lte=Now() - Value(RENEWED_AFTER),
            worker_id__in=CurrentVersion.objects.values("worker_id"),
        )
        .order_by("finished_at")[:most]
    )
    rows = list(given_up)
    for row in rows:
        _ask_again(row)
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


def _signer() -> Signer:
    return Signer(salt=CLAIM_SALT)


def _claimed(secret: str) -> list[ComputeTemplate]:
    claimed = ComputeTemplate.objects.select_for_update().filter(
        claim_sha256=hash_secret(secret), status=_S.BUILDING
    )
    return list(claimed.order_by("id"))


def _ask_again(row: ComputeTemplate) -> None:
    row.status = next_template_state(TemplateState(row.status), TemplateEvent.REQUEST)
    row.attempts, row.error, row.public_error = 0, None, None
    row.finished_at = row.may_pass = None
    row.next_attempt_at = row.sent_at = Now()
    row.save()


def _end_attempt(row: ComputeTemplate, event: TemplateEvent, trouble: Trouble | None) -> None:
    result = RESULTS[event]
    TEMPLATES.labels(mode=row.mode, preset=row.preset, result=result).inc()
    if row.started_at is not None:
        took_s = (datetime.now(UTC) - row.started_at).total_seconds()
        BUILD_SECONDS.labels(preset=row.preset, result=result).observe(max(0.0, took_s))
    row.status = next_template_state(TemplateState(row.status), event)
    row.error = None if trouble is None else _storable(trouble.error)
    row.public_error = None if trouble is None else _storable(trouble.public)
    row.may_pass = None if trouble is None else trouble.may_pass
    row.claim_sha256 = row.claimed_until = None
    if event is TemplateEvent.RETRY:
        row.next_attempt_at = Now() + Value(timedelta(seconds=pause_s(row.attempts)))
    else:
        row.finished_at = Now()


def _save(rows: Sequence[ComputeTemplate]) -> None:
    """Store how attempts ended, in one statement: what is due again is due at one moment.

    So whoever comes next claims all of it, and asks the gateway once.
    """
    ComputeTemplate.objects.bulk_update(rows, ENDS)


def _storable(text: str) -> str:
    return redact_text(text).replace("\x00", "\ufffd")[:MAX_ERROR]


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
