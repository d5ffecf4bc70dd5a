"""The list of runs: which there are, narrowed by what its address says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe
from django_htmx.http import push_url

from deployments.environment_entry import entry_for
from deployments.region_choices import geographies_of
from runs.count_selectors import RunCounts, find_run_counts
from runs.errors import RunNotFound
from runs.run_filter import RunFilter
from runs.selectors import RunPage, get_run_among, list_runs
from webapp.dashboard.access import Place, place_for
from webapp.dashboard.histogram import histogram
from webapp.dashboard.parts import is_part
from webapp.dashboard.run_filters import KEYS, PERIODS, Filters, period_text, read_filters
from webapp.dashboard.run_rows import count_sentence, example_for, facets, is_live, run_row
from webapp.dashboard.words import STATUS_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE_SIZE: Final = 50
RUN_PREFIX: Final = "run_"
LIST: Final = "list"  # the form and the rows: what a filter changes
ROWS: Final = "runs"  # what is refreshed
UNCOUNTED: Final = "uncounted"  # what a refresh says when counting had taken too long


@login_required
@require_safe
def run_list(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer which runs there are; to the page's own scripts only the part that changes."""
    place = place_for(request, organization, environment)
    filters = read_filters({key: request.GET.getlist(key) for key in KEYS})
    searched = request.GET.get("find", "").strip()
    target = _target_of(place, searched, filters)
    if target is not None:
        return redirect(target)
    if any("" in request.GET.getlist(key) for key in KEYS) or _has_old_period(request):
        return redirect(f"{request.path}?{filters.query}")  # what a form left empty
    now = datetime.now(UTC)
    after, before = request.GET.get("after"), request.GET.get("before")
    page = list_runs(
        environment_ids=environment_ids_for(place, filters),
        wanted=filters.wanted(now),
        size=PAGE_SIZE,
        after=after,
        before=before,
    )
    is_first = after is None and before is None
    context = {
        "place": place,
        "section": "runs",
        "not_found": searched,
        "filters": filters,
        "is_first": is_first,
        **_rows(page, filters, now, is_first=is_first),
        **_counted(place, filters, now, is_asked=UNCOUNTED not in request.GET),
    }
    context["refreshed_at"] = _refresh_address(request, is_counted=context["is_counted"])
    if is_part(request, ROWS):
        return render(request, "runs/_list.html", context)
    context |= _form(place)
    if not is_part(request, LIST):
        return render(request, "runs/list.html", context)
    answer = render(request, "runs/_filtered.html", context)
    return push_url(answer, request.get_full_path())


def _rows(page: RunPage, filters: Filters, now: datetime, *, is_first: bool) -> dict[str, Any]:
    return {
        "rows": [run_row(run, now) for run in page.runs],
        "newer": _page_query(filters.pairs, "before", page.previous),
        "older": _page_query(filters.pairs, "after", page.next),
        "is_live": is_live(page.runs) or is_first,
    }


def _counted(place: Place, filters: Filters, now: datetime, *, is_asked: bool) -> dict[str, Any]:
    """Count, unless that took too long the last time this part was shown."""
    environment_ids = environment_ids_for(place, filters)
    every = filters._replace(statuses=())
    counts = chosen = None
    if is_asked:
        counts = find_run_counts(environment_ids=environment_ids, wanted=every.wanted(now), now=now)
        chosen = _chosen(counts, filters.wanted(now), environment_ids, now)
    return {
        "sentence": count_sentence(chosen, filters),
        "facets": facets(counts, filters),
        "histogram": histogram(chosen, filters),
        "counts_are_complete": counts is not None and counts.is_complete,
        "is_counted": chosen is not None,
    }


def _refresh_address(request: HttpRequest, *, is_counted: bool) -> str:
    """Give where the rows are asked for again: here, without counts if those took too long."""
    query = request.GET.copy()
    if not is_counted:
        query[UNCOUNTED] = "1"
    return f"{request.path}?{query.urlencode()}"


def _chosen(
    counts: RunCounts | None, wanted: RunFilter, environment_ids: Sequence[str], now: datetime
) -> RunCounts | None:
    """Give the counts of the chosen states, which are part of all when all were counted."""
    if counts is None or not wanted.statuses:
        return counts
    if counts.is_complete:
        steps = {key: count for key, count in counts.by_step.items() if key[1] in wanted.statuses}
        kept = {status: counts.by_status.get(status, 0) for status in wanted.statuses}
        return counts._replace(by_status=kept, by_step=steps)
    return find_run_counts(environment_ids=environment_ids, wanted=wanted, now=now)


def _form(place: Place) -> dict[str, Any]:
    """Give what the filter's form offers, and an empty list proposes."""
    tasks = _known_tasks(place)
    return {
        "words": STATUS_WORDS.values(),
        "tasks": tasks,
        "regions": _known_regions(place),
        "period_values": PERIODS,
        "periods": [(period, period_text(period)) for period in PERIODS],
        "example": example_for(tasks),
        "has_projects": len(place.projects) > 1,
    }


def environment_ids_for(place: Place, filters: Filters) -> Sequence[str]:
    """Give the environments of the chosen projects; raise `Http404` for one that is not there."""
    if not filters.projects:
        return place.environment_ids
    ids = {project.slug: project.id for project in place.projects}
    if not set(filters.projects) <= set(ids):
        raise Http404
    chosen = {ids[slug] for slug in filters.projects}
    found = [one.id for one in place.current.environments if one.project_id in chosen]
    if not found:
        raise Http404
    return found


def _target_of(place: Place, searched: str, filters: Filters) -> str | None:
    """Find where a search leads: a run anywhere in the organization, a task, else a tag.

    None: nothing was searched, or a run that there is not.
    """
    if not searched:
        return None
    if searched.startswith(RUN_PREFIX):
        return _find_run(place, searched)
    if searched in _known_tasks(place):
        found = filters._replace(tasks=(searched,))
    else:
        found = filters._replace(tags=(searched,))
    return f"{runs_address(place)}?{found.query}"


def _find_run(place: Place, run_id: str) -> str | None:
    for choice in (place.current, *place.choices):
        ids = [environment.id for environment in choice.environments]
        try:
            get_run_among(environment_ids=ids, run_id=run_id)
        except RunNotFound:
            continue
        return reverse("run", args=[place.organization.slug, choice.slug, run_id])
    return None


def runs_address(place: Place) -> str:
    """Give the address of a place's list."""
    return reverse("runs", args=[place.organization.slug, place.current.slug])


def _known_tasks(place: Place) -> list[str]:
    """Give the tasks of the current versions, which the task filter offers."""
    entries = [entry_for(environment_id) for environment_id in place.environment_ids]
    return sorted({slug for entry in entries for slug in entry.tasks})


def _has_old_period(request: HttpRequest) -> bool:
    """Tell whether the form chose a period in place of one that the address had."""
    return len(request.GET.getlist("period")) > 1


def _known_regions(place: Place) -> list[str]:
    """Give the regions that runs here can be in, which the region filter offers."""
    entries = [entry_for(environment_id) for environment_id in place.environment_ids]
    return sorted({name for entry in entries for name in geographies_of(entry)})


def _page_query(pairs: list[tuple[str, str]], key: str, cursor: str | None) -> str | None:
    return None if cursor is None else urlencode([*pairs, (key, cursor)])
