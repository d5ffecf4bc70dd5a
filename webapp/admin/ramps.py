"""The pages of ramps: all of them, a new draft, and one with what can be done to it.

Every button says what it does, with its consequence beside it, worked out by the preview.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from django.contrib import messages
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from flags.catalog import MIGRATION_ENABLED
from flags.ramp_change import IllegalRampMove
from flags.ramping import (
    abort_ramp,
    create_ramp,
    finish_ramp,
    pause_ramp,
    resume_ramp,
    start_ramp,
)
from flags.ramps import LIVE, RampState
from flags.selectors import RampView, get_global_value, get_ramp, list_ramps
from ledger.selectors import current_revision
from rollout.proposal import preview_global_flags
from tenants.errors import Invalid
from tenants.freshness import StaleRevision
from webapp.admin.forms import ReasonForm
from webapp.admin.pages import crumb, origin_of, page, revision_in
from webapp.admin.previews import sentence_of
from webapp.admin.ramp_form import RampForm
from webapp.admin.ramp_words import (
    HEADERS,
    STATES,
    percent,
    position_text,
    ramp_facts,
    ramp_row,
    steps_table,
    track_of,
)
from webapp.admin.tables import Table
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest, HttpResponse

NO_RAMPS: Final = "There is no ramp yet. Write a draft: it changes nothing before it is started."
STAYS: Final = "Nobody moves: the dial stays where it is."
SWITCHED_OFF: Final = (
    "The migration is switched off for everyone: the dial moves, but nobody does until it is on."
)
ACTIONS: Final[Mapping[str, Callable[..., None]]] = {
    "start": start_ramp,
    "pause": pause_ramp,
    "resume": resume_ramp,
    "abort": abort_ramp,
    "finish": finish_ramp,
}
OVER: Final = frozenset({RampState.FINISHED, RampState.ABORTED})
FRESH: Final = frozenset({"start", "resume"})  # refused when the dial was changed meanwhile


class Offer(NamedTuple):
    """Something that can be done to a ramp now."""

    action: str
    label: str
    consequence: str
    is_quiet: bool


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show all ramps."""
    now, ramps = datetime.now(UTC), list_ramps()
    rows = tuple(ramp_row(ramp, now, reverse("admin:ramp", args=[ramp.id])) for ramp in ramps)
    running = [ramp for ramp in ramps if ramp.state is RampState.RUNNING]
    lead = " ".join(f"{ramp.flag}: {position_text(ramp, now)}" for ramp in running)
    paused = sum(ramp.state in LIVE for ramp in ramps) - len(running)
    rest = f" {count_text(paused, 'ramp')} paused." if paused else ""
    return page(
        request,
        "listing.html",
        title="Ramps",
        lead=(lead or "No ramp is running.") + rest,
        table=Table("ramps", HEADERS, rows, NO_RAMPS),
        action=(reverse("admin:ramp_new"), "New ramp"),
    )


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    """Write a draft."""
    form = RampForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _form(request, form)
    try:
        ramp_id = create_ramp(
            flag=form.cleaned_data["flag"],
            steps=form.steps,
            **origin_of(request, form.cleaned_data["reason"]),
        )
    except Invalid as error:
        for problem in error.problems:
            form.add_problem(problem)
        return _form(request, form)
    messages.success(request, "The draft is written down. It changes nothing before it is started.")
    return see_other(reverse("admin:ramp", args=[ramp_id]))


def _form(request: HttpRequest, form: RampForm) -> HttpResponse:
    return page(
        request,
        "ramp_new.html",
        title="New ramp",
        crumbs=(crumb("Ramps", "ramps"),),
        status=400 if form.errors else 200,
        form=form,
    )


@require_http_methods(["GET", "HEAD", "POST"])
def detail(request: HttpRequest, ramp_id: str) -> HttpResponse:
    """Show a ramp, and do something to it."""
    revision = current_revision()  # read first, so that it never claims too much
    ramp = get_ramp(ramp_id)
    if request.method != "POST":
        return _ramp(request, ramp, ReasonForm(), revision)
    form, action = ReasonForm(request.POST), request.POST.get("action", "")
    if action not in ACTIONS:
        raise Invalid("action: there is no such action")
    if not form.is_valid():
        return _ramp(request, ramp, form, revision, status=400)
    fresh = {"expected_revision": revision_in(request)} if action in FRESH else {}
    try:
        ACTIONS[action](ramp_id, **fresh, **origin_of(request, form.cleaned_data["reason"]))
    except (IllegalRampMove, StaleRevision) as error:
        form.add_error(None, f"{error}. Nothing was done. The page shows what holds now.")
        return _ramp(request, get_ramp(ramp_id), form, current_revision(), status=409)
    done = get_ramp(ramp_id)
    said = f"{STATES[done.state].text}: the dial is at {percent(done.dial)}."
    messages.success(request, said)
    return see_other(reverse("admin:ramp", args=[ramp_id]))


def _ramp(
    request: HttpRequest, ramp: RampView, form: ReasonForm, revision: int, *, status: int = 200
) -> HttpResponse:
    now = datetime.now(UTC)
    return page(
        request,
        "ramp.html",
        title=f"Ramp of {ramp.flag}",
        crumbs=(crumb("Ramps", "ramps"),),
        status=status,
        lead=position_text(ramp, now),
        track=track_of(ramp if ramp.state in LIVE else None, ramp.dial),
        facts=ramp_facts(ramp, now),
        table=steps_table(ramp, now),
        offers=_offers(ramp),
        is_off=ramp.state not in OVER and get_global_value(MIGRATION_ENABLED) is not True,
        switched_off=SWITCHED_OFF,
        revision=revision,
        form=form,
    )


def _offers(ramp: RampView) -> tuple[Offer, ...]:
    value, before = percent(ramp.value), percent(ramp.start_value)
    first = ramp.steps[0].value
    if ramp.state in OVER:
        return ()
    if ramp.state is RampState.DRAFT:
        start = f"Start: set the dial from {percent(ramp.dial)} to {percent(first)}"
        return (
            Offer("start", start, _moving(ramp, first), is_quiet=False),
            Offer("abort", "Drop this draft", "Nothing changes.", is_quiet=True),
        )
    back = Offer(
        "abort",
        f"Abort: set the dial from {percent(ramp.dial)} back to {before}",
        _moving(ramp, ramp.start_value),
        is_quiet=True,
    )
    end = f"Finish: keep the dial at {percent(ramp.dial)}"
    finish = Offer("finish", end, f"{STAYS} The steps to come never do.", is_quiet=True)
    if ramp.state is RampState.PAUSED:
        resume = f"Resume: set the dial from {percent(ramp.dial)} to {value}"
        return (Offer("resume", resume, _moving(ramp, ramp.value), is_quiet=False), back, finish)
    pause = f"{STAYS} A resume goes on with what is left of this step."
    return (Offer("pause", f"Pause at {value}", pause, is_quiet=False), back, finish)


def _moving(ramp: RampView, value: int | None) -> str:
    """Give who moves when the dial becomes this."""
    return sentence_of(preview_global_flags({ramp.flag: value}))
