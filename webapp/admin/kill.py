"""The kill switch: a page that says what it does, one button, a page that says where it arrived.

It is reached from every page that staff see, expects no revision, and needs no script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from django import forms
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from deployments.regions import CONTAINER
from flags.catalog import MIGRATION_ENABLED
from flags.ramps import RampState
from flags.selectors import get_global_values
from flags.services import kill_migration
from flags.stored import GLOBAL
from ledger.registry import LoadFailed
from ledger.selectors import AuditEntry, current_revision, list_audit, list_replicas
from rollout.moving import preview_regions
from rollout.proposal import preview_global_flags
from webapp.admin.arrival import arrival_of
from webapp.admin.forms import MAX_REASON
from webapp.admin.migration import live_ramps, standing_now
from webapp.admin.moving import address_of
from webapp.admin.pages import MAX_REVISION, crumb, origin_of, page
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse

    from flags.selectors import RampView
    from rollout.proposal import MovingSide
    from rollout.standing import Standing

log = structlog.get_logger(__name__)

NAMED: Final = 3  # of the organizations that leave
UNFORESEEN: Final = (
    "Organizations enrolled by percentage go back to containers with their next run; those taken in"
    " by override stay. How many they are cannot be said at the moment."
)
NO_REASON: Final = "Kill switch"
"""What the audit keeps when nobody took the time to say more: two actions have to be enough."""


class Foreseen(NamedTuple):
    """What the kill switch will have done."""

    standing: Standing
    leaving: MovingSide


class Waiting(NamedTuple):
    """Runs of a region that wait for MicroVM."""

    region: str
    runs: str
    href: str


class KillForm(forms.Form):
    """A reason that may be left out."""

    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON,
        label="Reason",
        help_text="Stays in the audit, with your name. It may be left out.",
        widget=forms.TextInput(),
    )


@require_http_methods(["GET", "HEAD", "POST"])
def kill(request: HttpRequest) -> HttpResponse:
    """Say what switching the migration off does, and do it."""
    form = KillForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _ask(request, form)
    reason = form.cleaned_data["reason"].strip() or NO_REASON
    revision = kill_migration(**origin_of(request, reason))
    return see_other(f"{reverse('admin:migration_killed')}?revision={revision}")


@require_safe
def killed(request: HttpRequest) -> HttpResponse:
    """Show where the kill has arrived, and what is left to do."""
    revision = _revision(request.GET.get("revision", ""))
    is_off = get_global_values().get(MIGRATION_ENABLED) is not True
    part = "_arrival.html" if request.headers.get("HX-Request") else "killed.html"
    return page(
        request,
        part,
        title="The migration is off" if is_off else "The migration is on again",
        crumbs=(crumb("Migration", "migration"),),
        is_off=is_off,
        last=_last_write(),
        revision=revision,
        arrival=arrival_of(revision, list_replicas()),
        known=_foreseen(),
        waiting=_waiting(),
    )


def _ask(request: HttpRequest, form: KillForm) -> HttpResponse:
    known = _foreseen()
    return page(
        request,
        "kill.html",
        title="Stop the migration",
        is_kill_page=True,
        crumbs=(crumb("Migration", "migration"),),
        status=400 if form.errors else 200,
        form=form,
        consequences=(*_consequences(known), *_paused(live_ramps())),
        button=_button(known),
    )


def _foreseen() -> Foreseen | None:
    """Work out who leaves. The page is there, and works, whatever becomes of the question."""
    try:
        leaving = preview_global_flags({MIGRATION_ENABLED: False}).leaving
        return Foreseen(standing_now(), leaving)
    except LoadFailed as error:
        log.warning("kill.unforeseen", error=repr(error.__cause__ or error))
        return None


def _consequences(known: Foreseen | None) -> tuple[str, ...]:
    """Say what the kill switch does to whom, one sentence each."""
    return (
        *((UNFORESEEN,) if known is None else (_who_leaves(known), _who_stays(known.standing))),
        "Runs that are executing go on. Runs that wait keep their queue until they are moved.",
        "Dials and overrides keep their values, so switching it on again restores what was.",
    )


def _who_leaves(known: Foreseen) -> str:
    count, leaving = known.standing.by_percentage, known.leaving
    if not known.standing.is_enabled:
        return "The migration is off already: no percentage enrolls anybody."
    go = "goes" if count == 1 else "go"
    said = (
        f"{count_text(count, 'organization')} enrolled by percentage {go} back to containers"
        " with the next run"
    )
    if not leaving.organizations:
        return f"{said}."
    names = ", ".join(one.title for one in leaving.organizations[:NAMED])
    return f"{said}, about {leaving.runs_per_hour:,.0f} runs/h; the largest: {names}."


def _who_stays(standing: Standing) -> str:
    if not standing.forced_in:
        return "No override takes anybody in, so nobody stays on MicroVM."
    who = count_text(standing.forced_in, "organization")
    stay = "stays" if standing.forced_in == 1 else "stay"
    return f"{who} taken in by override {stay} on MicroVM."


def _paused(ramps: Sequence[RampView]) -> list[str]:
    return [
        f"The ramp of {ramp.flag} is paused at {ramp.value} %."
        for ramp in ramps
        if ramp.state is RampState.RUNNING
    ]


def _button(known: Foreseen | None) -> str:
    if known is None or not known.standing.is_enabled:
        return "Switch the migration off"
    return f"Take {count_text(known.standing.by_percentage, 'organization')} off MicroVM"


def _waiting() -> list[Waiting]:
    """Give what waits on MicroVM, region by region, with the way to move it back."""
    return [
        Waiting(
            one.region,
            count_text(one.preview.count, "run"),
            address_of(region=one.region, to=CONTAINER),
        )
        for one in preview_regions(CONTAINER)
        if one.preview.count
    ]


def _last_write() -> AuditEntry | None:
    rows = list_audit(key=MIGRATION_ENABLED, limit=20).rows
    return next((row for row in rows if row.scope == GLOBAL), None)


def _revision(text: str) -> int:
    """Read the revision of the address; what is none means the newest."""
    is_number = text.isascii() and text.isdecimal() and int(text) < MAX_REVISION
    return int(text) if is_number else current_revision()
