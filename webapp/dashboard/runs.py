"""The pages of runs: which there are, what happened to one, and what can be done about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from deployments.environment_entry import entry_for
from flags.callers import get_caller_without_key
from runs.errors import RunNotFound
from runs.selectors import get_run_among, list_runs, list_snapshots
from runs.services.cancellation import cancel_run
from runs.services.replay import replay_run
from runs.states import FINAL, ExecutionStatus
from tenants.errors import Refused
from webapp.dashboard.access import Place, place_for
from webapp.dashboard.answers import see_other
from webapp.dashboard.run_facts import overview, shown_error
from webapp.dashboard.run_filters import KEYS, read_filters
from webapp.dashboard.run_rows import example_for, is_live, run_row, summary
from webapp.dashboard.run_sections import log_section, packets, relatives, staff_section
from webapp.dashboard.run_times import headline
from webapp.dashboard.timeline import MAX_SPANS, timeline
from webapp.dashboard.words import STATUS_WORDS, status_word

PAGE_SIZE: Final = 50
SOURCE: Final = "dashboard"


@login_required
@require_safe
def run_list(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer which runs there are."""
    place = place_for(request, organization, environment)
    wanted = request.GET.get("find", "").strip()
    if wanted and _exists(place, wanted):
        return redirect(_address(place, wanted))
    filters = read_filters({key: request.GET.getlist(key) for key in KEYS})
    after, before = request.GET.get("after"), request.GET.get("before")
    if any("" in request.GET.getlist(key) for key in KEYS):
        return redirect(f"{request.path}?{filters.query}")  # what a form left empty
    now = datetime.now(UTC)
    page = list_runs(
        environment_ids=place.environment_ids,
        wanted=filters.wanted,
        size=PAGE_SIZE,
        after=after,
        before=before,
    )
    rows, tasks = [run_row(run, now) for run in page.runs], _known_tasks(place)
    context = {
        "place": place,
        "section": "runs",
        "rows": rows,
        "summary": summary(rows),
        "not_found": wanted,
        "filters": filters,
        "words": STATUS_WORDS.values(),
        "tasks": tasks,
        "example": example_for(tasks),
        "newer": _page_query(filters.pairs, "before", page.previous),
        "older": _page_query(filters.pairs, "after", page.next),
        "is_first": after is None and before is None,
        "is_live": is_live(page.runs) or (after is None and before is None),
    }
    return render(request, "runs/list.html", context)


@login_required
@require_safe
def run_page(
    request: HttpRequest, organization: str, environment: str, run_id: str
) -> HttpResponse:
    """Answer what happened to a run."""
    place = place_for(request, organization, environment)
    now = datetime.now(UTC)
    run = get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    snapshots = list_snapshots(run.id)
    spans = timeline(snapshots, now=now)
    context = {
        "place": place,
        "section": "runs",
        "run": run,
        "tags": sorted(run.tags),
        "status": status_word(run.status, run.execution_status),
        "headline": headline(run, now),
        "is_live": run.execution_status != ExecutionStatus.FINISHED,
        "can_cancel": run.status not in FINAL,
        "error": shown_error(run),
        "facts": overview(run, now),
        "spans": spans,
        "spans_are_cut": len(spans) == MAX_SPANS,
        "relatives": relatives(run, now),
        "packets": packets(run),
        "logs": log_section(run.id, after=request.GET.get("logs")),
        "staff": staff_section(run, snapshots) if place.viewer.is_staff else None,
    }
    return render(request, "runs/run.html", context)


@login_required
@require_POST
def cancel(request: HttpRequest, organization: str, environment: str, run_id: str) -> HttpResponse:
    """Cancel a run and the runs it started."""
    place = place_for(request, organization, environment)
    run = get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    if run.status in FINAL:
        messages.info(request, "The run was over already; nothing was changed.")
    else:
        cancel_run(environment_id=run.environment_id, run_id=run.id)
        messages.success(request, "Cancel was requested.")
    return see_other(_address(place, run.id))


@login_required
@require_POST
def replay(request: HttpRequest, organization: str, environment: str, run_id: str) -> HttpResponse:
    """Run it again, and show the new run."""
    place = place_for(request, organization, environment)
    run = get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    caller = get_caller_without_key(run.environment_id)
    try:
        made = replay_run(caller, run_id=run.id, region=None, source=SOURCE, now=datetime.now(UTC))
    except Refused as error:
        messages.error(request, f"The run was not replayed: {error}")
        return see_other(_address(place, run.id))
    messages.success(request, "This is the replay.")
    return see_other(_address(place, made.run_id))


def _address(place: Place, run_id: str) -> str:
    return reverse("run", args=[place.organization.slug, place.current.slug, run_id])


def _exists(place: Place, run_id: str) -> bool:
    try:
        get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    except RunNotFound:
        return False
    return True


def _known_tasks(place: Place) -> list[str]:
    """Give the tasks of the current versions, which the task filter offers."""
    entries = [entry_for(environment_id) for environment_id in place.environment_ids]
    return sorted({slug for entry in entries for slug in entry.tasks})


def _page_query(pairs: list[tuple[str, str]], key: str, cursor: str | None) -> str | None:
    return None if cursor is None else urlencode([*pairs, (key, cursor)])
