"""The kill switch: a page that says what it does, one button, a page that says where it arrived.

It is reached from every page that staff see, expects no revision, and needs no script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from django import forms
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from deployments.region_snapshot import load_region_snapshot
from deployments.regions import CONTAINER
from flags.catalog import MIGRATION_ENABLED
from flags.ramps import RampState
from flags.selectors import get_global_values
from flags.services import kill_migration
from flags.stored import GLOBAL
from ledger.selectors import AuditEntry, current_revision, list_audit, list_replicas
from rollout.moving import MoveWish, preview_move
from tenants.errors import Conflict, Refused
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
    from rollout.standing import Standing

NO_REASON: Final = "Kill switch"
"""What the audit keeps when nobody took the time to say more: two actions have to be enough."""


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
        standing=standing_now(),
        waiting=_waiting(),
    )


def _ask(request: HttpRequest, form: KillForm) -> HttpResponse:
    standing = standing_now()
    return page(
        request,
        "kill.html",
        title="Stop the migration",
        is_kill_page=True,
        crumbs=(crumb("Migration", "migration"),),
        status=400 if form.errors else 200,
        form=form,
        standing=standing,
        consequences=consequences(standing, live_ramps()),
        button=_button(standing),
    )


def consequences(standing: Standing, ramps: Sequence[RampView]) -> list[str]:
    """Say what the kill switch does to whom, one sentence each."""
    if not standing.is_enabled:
        leaving = "The migration is off already: no percentage enrolls anybody."
    else:
        go = "goes" if standing.by_percentage == 1 else "go"
        leaving = (
            f"{count_text(standing.by_percentage, 'organization')} enrolled by percentage"
            f" {go} back to containers with the next run."
        )
    stay = "stays" if standing.forced_in == 1 else "stay"
    staying = (
        f"{count_text(standing.forced_in, 'organization')} taken in by override {stay} on MicroVM."
        if standing.forced_in
        else "No override takes anybody in, so nobody stays on MicroVM."
    )
    return [
        leaving,
        staying,
        "Runs that are executing go on. Runs that wait keep their queue until they are moved.",
        "Dials and overrides keep their values, so switching it on again restores what was.",
        *(
            f"The ramp of {ramp.flag} is paused at {ramp.value} %."
            for ramp in ramps
            if ramp.state is RampState.RUNNING
        ),
    ]


def _button(standing: Standing) -> str:
    if not standing.is_enabled:
        return "Switch the migration off"
    return f"Take {count_text(standing.by_percentage, 'organization')} off MicroVM"


def _waiting() -> list[Waiting]:
    """Give what waits on MicroVM, region by region, with the way to move it back."""
    snapshot = load_region_snapshot()
    found = []
    for region in sorted({row.region for row in snapshot.rows if row.region is not None}):
        try:
            preview = preview_move(MoveWish(region, CONTAINER))
        except (Conflict, Refused):
            continue  # a region without containers to move to
        if preview.count:
            href = address_of(region=region, to=CONTAINER)
            found.append(Waiting(region, count_text(preview.count, "run"), href))
    return found


def _last_write() -> AuditEntry | None:
    rows = list_audit(key=MIGRATION_ENABLED, limit=20).rows
    return next((row for row in rows if row.scope == GLOBAL), None)


def _revision(text: str) -> int:
    """Read the revision of the address; what is none means the newest."""
    is_number = text.isascii() and text.isdecimal() and int(text) < MAX_REVISION
    return int(text) if is_number else current_revision()
