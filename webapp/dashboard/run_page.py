"""The page of a run: what happened to it, in tabs that each have an address."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from runs.selectors import get_run_among, list_snapshots
from runs.states import FINAL, ExecutionStatus
from webapp.dashboard.access import ENVIRONMENT_NAMES, Place, place_for
from webapp.dashboard.parts import is_part
from webapp.dashboard.run_actions import replay_offer
from webapp.dashboard.run_facts import overview, shown_error
from webapp.dashboard.run_logs import log_file, log_section
from webapp.dashboard.run_sections import packets, placement_facts, relatives, snapshot_rows
from webapp.dashboard.run_times import headline
from webapp.dashboard.timeline import MAX_SPANS, timeline
from webapp.dashboard.words import status_word

if TYPE_CHECKING:
    from runs.selectors import RunView

HEAD: Final = "run-head"
MAIN: Final = "run-main"  # the tabs, and what is in the chosen one
BODY: Final = "run-body"  # what is in it
LINES: Final = "more-lines"  # the end of a log, which further lines take the place of


class Tab(NamedTuple):
    """One side of a run."""

    name: str
    title: str
    template: str
    is_live: bool  # what it shows may change while the run lives

    @property
    def route(self) -> str:
        """The name of its route."""
        return "run" if self.name == "overview" else f"run_{self.name}"


OVERVIEW: Final = Tab("overview", "Overview", "runs/_overview.html", is_live=True)
PAYLOAD: Final = Tab("payload", "Payload & output", "runs/_packets.html", is_live=True)
LOGS: Final = Tab("logs", "Logs", "runs/_logs.html", is_live=False)  # it grows at its end
SNAPSHOTS: Final = Tab("snapshots", "Snapshots", "runs/_snapshots.html", is_live=True)
TABS: Final = (OVERVIEW, PAYLOAD, LOGS, SNAPSHOTS)


@login_required
@require_safe
def run_page(
    request: HttpRequest, organization: str, environment: str, run_id: str, tab: Tab
) -> HttpResponse:
    """Answer what happened to a run, seen from one side."""
    place = place_for(request, organization, environment)
    now = datetime.now(UTC)
    run = get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    head = _head(place, run, tab, now)
    if is_part(request, HEAD):
        return render(request, "runs/_head_part.html", head)
    context = {**head, **_CONTENTS[tab.name](request, place, run, now)}
    if is_part(request, LINES):
        return render(request, "runs/_lines.html", context)
    if is_part(request, BODY):
        return render(request, "runs/_body.html", context)
    if is_part(request, MAIN):
        return render(request, "runs/_main.html", context)
    context |= {"section": "runs", "replay": replay_offer(place, run)}
    return render(request, "runs/run.html", context)


@login_required
@require_safe
def run_log_file(
    request: HttpRequest, organization: str, environment: str, run_id: str
) -> StreamingHttpResponse:
    """Answer every line a run wrote, as plain text."""
    place = place_for(request, organization, environment)
    run = get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    answer = StreamingHttpResponse(log_file(run.id), content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = f'inline; filename="{run.id}.log"'
    return answer


def _head(place: Place, run: RunView, tab: Tab, now: datetime) -> dict[str, Any]:
    slugs = [place.organization.slug, place.current.slug, run.id]
    return {
        "place": place,
        "run": run,
        "tags": sorted(run.tags),
        "status": status_word(run.status, run.execution_status),
        "headline": headline(run, now),
        "is_live": run.execution_status != ExecutionStatus.FINISHED,
        "can_cancel": run.status not in FINAL,
        "environment_name": ENVIRONMENT_NAMES[place.current.type],
        "tab": tab,
        "here": reverse(tab.route, args=slugs),
        "tabs": [(one, reverse(one.route, args=slugs)) for one in TABS],
    }


def _overview(_request: HttpRequest, _place: Place, run: RunView, now: datetime) -> dict[str, Any]:
    spans = timeline(list_snapshots(run.id), now=now)
    return {
        "error": shown_error(run),
        "facts": overview(run, now),
        "spans": spans,
        "spans_are_cut": len(spans) == MAX_SPANS,
        "relatives": relatives(run, now),
    }


def _payload(request: HttpRequest, _place: Place, run: RunView, _now: datetime) -> dict[str, Any]:
    is_raw = request.GET.get("view") == "raw"
    return {"packets": packets(run, is_raw=is_raw), "is_raw": is_raw}


def _logs(request: HttpRequest, _place: Place, run: RunView, _now: datetime) -> dict[str, Any]:
    after, contains = request.GET.get("after"), request.GET.get("q", "").strip()
    is_more = is_part(request, LINES)
    return {"logs": log_section(run.id, after=after, contains=contains, is_more=is_more)}


def _snapshots(_request: HttpRequest, place: Place, run: RunView, _now: datetime) -> dict[str, Any]:
    is_staff = place.viewer.is_staff
    return {
        "is_staff": is_staff,
        "snapshots": snapshot_rows(list_snapshots(run.id), is_staff=is_staff),
        "placement": placement_facts(run) if is_staff else None,
    }


_CONTENTS: Final[dict[str, Callable[[HttpRequest, Place, RunView, datetime], dict[str, Any]]]] = {
    OVERVIEW.name: _overview,
    PAYLOAD.name: _payload,
    LOGS.name: _logs,
    SNAPSHOTS.name: _snapshots,
}
