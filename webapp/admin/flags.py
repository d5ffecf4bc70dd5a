"""The pages of flags: for everyone, and per organization. Edit, review, apply.

One address does all three steps. Each form carries the revision it was made at and the values it
showed; what was changed meanwhile by others is shown, nothing is saved, and what was typed stays.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import messages
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from flags.catalog import FlagType
from flags.raw_selectors import list_invalid_values
from flags.selectors import get_global_values, list_moving_ramps
from ledger.selectors import AuditEntry, current_revision, list_audit, list_keys_changed_after
from tenants.freshness import StaleRevision
from tenants.selectors import get_organization
from webapp.admin.flag_targets import (
    Everyone,
    OneOrganization,
    Target,
    shown_value,
    specs_by_key,
)
from webapp.admin.flag_values import (
    Change,
    Control,
    Sent,
    control_for,
    read_changes,
    read_sent,
    typed_text,
    value_text,
)
from webapp.admin.forms import ReasonForm
from webapp.admin.pages import Crumb, origin_of, page, revision_in
from webapp.admin.ramp_pauses import pauses_of
from webapp.admin.ramp_words import Track, position_text, track_of
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest

    from flags.catalog import FlagSpec
    from flags.selectors import RampView


class Row(NamedTuple):
    """One flag of the page."""

    spec: FlagSpec
    control: Control
    now: str
    source: str  # where that is from
    ramp: str  # where the ramp that moves it stands, "" when none does
    ramp_href: str
    track: Track | None  # of a dial
    is_set: bool
    beneath: str
    lock: str  # why it cannot be set here, "" when it can
    was: str  # JSON of the value shown
    typed: str
    is_unset: bool  # the box is ticked
    problem: str
    invalid: str  # what is stored and not allowed, "" when nothing is


class Shown(NamedTuple):
    """What holds for everyone while a page is made."""

    values: Mapping[str, Any]
    ramps: Mapping[str, RampView]  # those that run, by the dial they move
    now: datetime


class Conflict(NamedTuple):
    """A flag that somebody else changed after the form was opened."""

    key: str
    seen: str
    now: str
    by: AuditEntry | None


class Draft(NamedTuple):
    """The state of the form: what it is compared with, and what was typed so far."""

    revision: int
    base: Mapping[str, Any]  # the values it shows as those of now
    sent: Mapping[str, Sent]


class Difference(NamedTuple):
    """One line of the review."""

    key: str
    purpose: str
    old: str
    new: str


@require_http_methods(["GET", "HEAD", "POST"])
def everyone(request: HttpRequest) -> HttpResponse:
    """Show and change the values that hold for everyone; asked for it, say who would move."""
    target = Everyone()
    return _sentence(request, target) if "sentence" in request.GET else _flags(request, target)


@require_http_methods(["GET", "HEAD", "POST"])
def one_organization(request: HttpRequest, organization_id: str) -> HttpResponse:
    """Show and change the overrides of an organization."""
    organization = get_organization(organization_id).organization
    return _flags(request, OneOrganization(organization, get_global_values()))


def _sentence(request: HttpRequest, target: Target) -> HttpResponse:
    """Say who would move by what a form holds, while it is being filled in."""
    specs = {key: spec for key, spec in specs_by_key().items() if not target.lock(spec)}
    changes, problems = read_changes(specs, read_sent(request.GET.dict(), specs.values()))
    consequence = target.consequence({change.key: change.new for change in changes})
    said = "" if consequence is None or problems else consequence.sentence
    return HttpResponse(said, content_type="text/plain; charset=utf-8")


def _flags(request: HttpRequest, target: Target) -> HttpResponse:
    if request.method != "POST":
        return _edit(request, target, _fresh(target))
    specs = {key: spec for key, spec in specs_by_key().items() if not target.lock(spec)}
    sent = read_sent(request.POST.dict(), specs.values())
    shown = {key: one.was for key, one in sent.items()}
    draft = Draft(revision_in(request), {**target.values(), **shown}, sent)
    changes, problems = read_changes(specs, sent)
    step = request.POST.get("step", "review")
    if step == "edit" or problems:
        wrong = {problem.key: problem.message for problem in problems}
        return _edit(request, target, draft, problems=wrong, status=400 if wrong else 200)
    if not changes:
        messages.info(request, "Nothing was changed: every flag is as it was shown.")
        return see_other(target.address)
    if _stale_keys(target, draft.revision, changes):
        return _conflict(request, target, draft, changes)
    if step == "apply":
        return _apply(request, target, draft, changes)
    return _review(request, target, changes, ReasonForm())


def _fresh(target: Target) -> Draft:
    """Read the revision first, so that it never claims too much."""
    revision = current_revision()
    return Draft(revision, target.values(), {})


def _apply(
    request: HttpRequest, target: Target, draft: Draft, changes: Sequence[Change]
) -> HttpResponse:
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _review(request, target, changes, form, status=400)
    values = {change.key: change.new for change in changes}
    origin = origin_of(request, form.cleaned_data["reason"])
    try:
        revision = target.save(values, revision=draft.revision, **origin)
    except StaleRevision:
        return _conflict(request, target, draft, changes)
    said = count_text(len(changes), "flag")
    messages.success(request, f"{said} changed for {target.audience}, at revision {revision}.")
    return see_other(target.address)


def _edit(
    request: HttpRequest,
    target: Target,
    draft: Draft,
    *,
    problems: Mapping[str, str] | None = None,
    conflicts: Sequence[Conflict] = (),
    status: int = 200,
) -> HttpResponse:
    return page(
        request,
        "flags.html",
        title=target.title,
        crumbs=target.crumbs,
        status=status,
        target=target,
        revision=draft.revision,
        rows=_rows(target, draft, problems or {}),
        problems=problems or {},
        conflicts=conflicts,
    )


def _review(
    request: HttpRequest,
    target: Target,
    changes: Sequence[Change],
    form: ReasonForm,
    *,
    status: int = 200,
) -> HttpResponse:
    specs, values = specs_by_key(), {change.key: change.new for change in changes}
    consequence = target.consequence(values)
    button = f"Change {count_text(len(changes), 'flag')} for {target.audience}"
    return page(
        request,
        "review.html",
        title="Review",
        crumbs=(*target.crumbs, Crumb(target.title, target.address)),
        status=status,
        target=target,
        form=form,
        differences=[_difference(specs[change.key], change) for change in changes],
        carried=[(name, value) for name, value in request.POST.items() if _is_carried(name)],
        consequence=consequence,
        pauses=pauses_of(values) if target.org_id is None else (),
        button=button if consequence is None else consequence.button or button,
    )


def _conflict(
    request: HttpRequest, target: Target, draft: Draft, changes: Sequence[Change]
) -> HttpResponse:
    """Show what others changed; what was typed is kept, and is compared with what holds now."""
    fresh, specs = _fresh(target), specs_by_key()
    stale = _stale_keys(target, draft.revision, changes)
    conflicts = [
        Conflict(
            change.key,
            value_text(specs[change.key], change.old),
            value_text(specs[change.key], fresh.base.get(change.key)),
            _last_write(target, change.key, draft.revision),
        )
        for change in changes
        if change.key in stale
    ]
    typed = {change.key: draft.sent[change.key] for change in changes}
    kept = fresh._replace(sent=typed)
    return _edit(request, target, kept, conflicts=conflicts, status=409)


def _stale_keys(target: Target, revision: int, changes: Sequence[Change]) -> list[str]:
    keys = [change.key for change in changes]
    return list_keys_changed_after(
        scope=target.scope, org=target.org_id, keys=keys, revision=revision
    )


def _last_write(target: Target, key: str, revision: int) -> AuditEntry | None:
    rows = list_audit(key=key, org=target.org_id).rows
    newer = (row for row in rows if row.scope == target.scope and row.revision > revision)
    return next(newer, None)


def _rows(target: Target, draft: Draft, problems: Mapping[str, str]) -> list[Row]:
    shown = Shown(get_global_values(), list_moving_ramps(), datetime.now(UTC))
    invalid = list_invalid_values(target.org_id)
    rows = [
        _row(spec, target, draft, shown, problems.get(spec.key, ""))
        for spec in specs_by_key().values()
    ]
    return [
        row._replace(invalid=json.dumps(invalid[row.spec.key])) if row.spec.key in invalid else row
        for row in rows
    ]


def _row(spec: FlagSpec, target: Target, draft: Draft, shown: Shown, problem: str) -> Row:
    lock = target.lock(spec)
    value = shown.values.get(spec.key) if lock else draft.base.get(spec.key)
    sent, ramp = draft.sent.get(spec.key), shown.ramps.get(spec.key)
    return Row(
        spec=spec,
        control=control_for(spec),
        now=shown_value(spec, value),
        source=target.source(spec, shown.ramps),
        ramp="" if ramp is None else position_text(ramp, shown.now),
        ramp_href="" if ramp is None else reverse("admin:ramp", args=[ramp.id]),
        track=track_of(ramp, value) if spec.type is FlagType.PERCENT else None,
        is_set=value is not None,
        beneath=target.beneath(spec),
        lock=lock,
        was=json.dumps(value),
        typed=typed_text(spec, value) if sent is None else sent.typed,
        is_unset=sent is not None and sent.is_unset,
        problem=problem,
        invalid="",
    )


def _difference(spec: FlagSpec, change: Change) -> Difference:
    old, new = value_text(spec, change.old), value_text(spec, change.new)
    return Difference(change.key, spec.purpose, old, new)


def _is_carried(name: str) -> bool:
    return name not in {"csrfmiddlewaretoken", "step", "reason"}
