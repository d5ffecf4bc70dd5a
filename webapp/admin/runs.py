"""The pages of runs, to read: where each is, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from deployments.selectors import list_group_rows
from flags.enrollment import Enrollment
from runs.placement import Why
from runs.selectors import get_any_run, list_snapshots
from runs.staff_selectors import MAX_SEARCHED, AnyRunFilter, list_any_runs
from runs.states import RunStatus
from tenants.staff_selectors import find_environment_places
from webapp.admin.filters import choice_filter, scope_of, text_filter
from webapp.admin.pages import crumb, older, page
from webapp.admin.tables import Cell, Fact, Table, at, code, facts, number, short, word, workload
from webapp.dashboard.words import Word, status_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse

    from runs.selectors import RunView, SnapshotView
    from tenants.staff_selectors import EnvironmentPlace

HEADERS: Final = (
    "Task",
    "Status",
    "Organization",
    "Queue",
    "Region",
    "Why",
    "Enrollment",
    "Created",
    "Run",
)
SNAPSHOT_HEADERS: Final = (
    "Snapshot",
    "Execution status",
    "Event",
    "Says",
    "Attempt",
    "Supervisor",
    "At",
)


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show runs of all tenants, newest first."""
    query = request.GET.dict()
    if run_id := query.get("run", "").strip():
        return redirect("admin:run", run_id)
    scope = scope_of(query)
    shown = (
        text_filter(query, "worker_queue", "Queue"),
        text_filter(query, "region", "Region"),
        choice_filter(query, "why", "Why", [one.value for one in Why]),
        choice_filter(query, "enrollment", "Enrollment", [one.value for one in Enrollment]),
        choice_filter(query, "status", "Status", [one.value for one in RunStatus]),
    )
    wanted = AnyRunFilter(scope.environment_ids, **{one.name: one.value for one in shown})
    found = list_any_runs(wanted=wanted, after=query.get("after"))
    places = find_environment_places(run.environment_id for run in found.runs)
    now = datetime.now(UTC)
    rows = tuple(_row(run, places.get(run.environment_id), now) for run in found.runs)
    note = f"Searched were {MAX_SEARCHED:,} runs. Older ones are on the next page."
    return page(
        request,
        "listing.html",
        title="Runs",
        table=Table("runs", HEADERS, rows, "No run matches."),
        filters=(text_filter(query, "run", "Run id"), *scope.filters, *shown),
        older=older(request, found.next_after),
        note=note if found.is_cut else "",
    )


@require_safe
def detail(request: HttpRequest, run_id: str) -> HttpResponse:
    """Show where a run is, why, and every snapshot of it."""
    run, now = get_any_run(run_id), datetime.now(UTC)
    place = find_environment_places([run.environment_id]).get(run.environment_id)
    snapshots = list_snapshots(run.id)
    return page(
        request,
        "run.html",
        title=f"Run {run.id}",
        crumbs=(crumb("Runs", "runs"),),
        status_shown=word(status_word(run.status, run.execution_status)),
        placement=_placement(run),
        facts=_facts(run, place, now),
        snapshots=Table(
            "snapshots", SNAPSHOT_HEADERS, tuple(_snapshot(row, now) for row in snapshots), "None."
        ),
        page_of_run=None
        if place is None
        else reverse("run", args=[place.organization.slug, place.environment.slug, run.id]),
    )


def _row(run: RunView, place: EnvironmentPlace | None, now: datetime) -> tuple[Cell, ...]:
    return (
        Cell(run.task_slug, href=reverse("admin:run", args=[run.id])),
        word(status_word(run.status, run.execution_status)),
        _whose(run, place),
        code(run.worker_queue),
        Cell(run.region or ""),
        code(run.why),
        code(run.enrollment),
        at(run.created_at, now),
        short(run.id),
    )


def _whose(run: RunView, place: EnvironmentPlace | None) -> Cell:
    if place is None:
        return code(run.environment_id)
    organization, environment = place.organization, place.environment
    address = reverse("admin:organization", args=[organization.id])
    return Cell(f"{organization.slug} {environment.slug}", href=address, title=organization.title)


def _placement(run: RunView) -> tuple[Fact, ...]:
    """Give the decision as a short chain that ends in the queue."""
    types = {row.master_queue: row.workload_type for row in list_group_rows()}
    return facts(
        {
            "Requested region": Cell(run.requested_region or "none"),
            "Plan at trigger": Cell(run.plan or "unknown"),
            "Enrollment": code(run.enrollment),
            "Why": code(run.why),
            "Decided at revision": number(run.decided_revision),
            "Region": Cell(run.region or "none"),
            "Queue": code(run.worker_queue),
            "Workload": workload(types.get(run.worker_queue, "")),
        }
    )


def _facts(run: RunView, place: EnvironmentPlace | None, now: datetime) -> tuple[Fact, ...]:
    values: Mapping[str, Cell] = {
        "Task": code(run.task_slug),
        "Organization": _whose(run, place),
        "Environment": code(run.environment_id),
        "Version": code(run.version),
        "Customer's queue": code(run.queue_name),
        "Execution status": code(run.execution_status),
        "Attempts": number(run.attempt_number),
        "Handed out": number(run.dispatch_number),
        "Created": at(run.created_at, now),
        "Started": at(run.started_at, now),
        "Ended": at(run.completed_at, now),
    }
    return facts(values)


def _snapshot(row: SnapshotView, now: datetime) -> tuple[Cell, ...]:
    refused = Word("refused", "warn")
    return (
        short(row.id),
        code(row.execution_status),
        code(row.event) if row.is_valid else word(refused),
        Cell(row.error or row.description, "prose"),
        number(row.attempt_number),
        Cell(row.worker_instance or ""),
        at(row.created_at, now),
    )
