"""The pages of deployments: to read, and to have compute templates built again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.contrib import messages
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from deployments.deployment_states import DeploymentState
from deployments.staff_selectors import get_any_deployment, list_any_deployments
from deployments.template_mode import TemplateMode
from deployments.template_rebuilding import NothingToRebuild, rebuild_templates
from deployments.template_states import TemplateState
from deployments.template_subjects import find_decision, template_settings
from deployments.template_views import list_version_templates
from tenants.staff_selectors import find_environment_places
from webapp.admin.filters import scope_of
from webapp.admin.forms import RebuildForm
from webapp.admin.pages import crumb, older, origin_of, page
from webapp.admin.tables import Cell, Table, at, code, facts, word
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import Tone, Word, count_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest, HttpResponse

    from deployments.staff_selectors import PlacedDeployment
    from deployments.template_mode import TemplateDecision
    from deployments.template_views import TemplateView
    from tenants.staff_selectors import EnvironmentPlace

HEADERS: Final = ("Version", "Status", "Organization", "Current", "Code", "Created", "Id")
EMPTY: Final = "There is no such deployment."
TONES: Final[Mapping[DeploymentState, Tone]] = {
    DeploymentState.DEPLOYED: "good",
    DeploymentState.FAILED: "bad",
    DeploymentState.TIMED_OUT: "bad",
    DeploymentState.CANCELED: "idle",
}
TEMPLATE_TONES: Final[Mapping[TemplateState, Tone]] = {
    TemplateState.READY: "good",
    TemplateState.FAILED: "bad",
}
"""Every other state goes on."""


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show deployments of all tenants, newest first."""
    scope, now = scope_of(request.GET.dict()), datetime.now(UTC)
    found = list_any_deployments(
        environment_ids=scope.environment_ids, after=request.GET.get("after")
    )
    places = find_environment_places(row.environment_id for row in found.rows)
    rows = tuple(_row(row, places.get(row.environment_id), now) for row in found.rows)
    return page(
        request,
        "listing.html",
        title="Deployments",
        table=Table("deployments", HEADERS, rows, EMPTY),
        filters=scope.filters,
        older=older(request, found.next_after),
    )


@require_http_methods(["GET", "HEAD", "POST"])
def detail(request: HttpRequest, deployment_id: str) -> HttpResponse:
    """Show a deployment and the tasks of its version; have its templates built again."""
    if request.method != "POST":
        return _detail(request, deployment_id, RebuildForm())
    form = RebuildForm(request.POST)
    if not form.is_valid():
        return _detail(request, deployment_id, form, status=400)
    try:
        done = rebuild_templates(
            deployment_id,
            includes_ready=form.cleaned_data["include_ready"],
            **origin_of(request, form.cleaned_data["reason"]),
        )
    except NothingToRebuild as error:
        return _detail(request, deployment_id, form, problem=f"{error}.", status=409)
    asked = count_text(done.asked, "template")
    said = f"{asked} will be built." if done.asked else "Nothing had to be built again."
    messages.success(request, said)
    return see_other(reverse("admin:deployment", args=[deployment_id]))


def _detail(
    request: HttpRequest,
    deployment_id: str,
    form: RebuildForm,
    *,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    (placed, version), now = get_any_deployment(deployment_id), datetime.now(UTC)
    row = placed.deployment
    place = find_environment_places([placed.environment_id]).get(placed.environment_id)
    tasks = () if version is None else version.tasks
    return page(
        request,
        "deployment.html",
        title=f"Deployment {row.version}",
        status=status,
        form=form,
        problem=problem,
        may_rebuild=row.status is DeploymentState.DEPLOYED and template_settings().has_gateway,
        crumbs=(crumb("Deployments", "deployments"),),
        facts=facts(
            {
                "Status": word(_status(row.status)),
                "Current": Cell("yes, new runs use it" if placed.is_current else "no"),
                "Organization": _whose(placed, place),
                "Environment": code(placed.environment_id),
                "Image": code(row.image_reference),
                "Artifact": code(row.artifact_digest),
                "Code": code(row.content_hash),
                "Templates needed": Cell(_needed(find_decision(row.id))),
                "Runtime": Cell(" ".join(filter(None, (row.runtime, row.runtime_version)))),
                "Created": at(row.created_at, now),
                "Deployed": at(row.deployed_at, now),
                "Canceled": at(row.canceled_at, now),
                "Why it was canceled": Cell(row.cancel_reason or ""),
                "Id": code(row.id),
            }
        ),
        error="" if row.error is None else json.dumps(dict(row.error), indent=2),
        tasks=Table(
            "tasks",
            ("Task", "File", "Function"),
            tuple(
                (code(task.slug), code(task.file_path), code(task.export_name)) for task in tasks
            ),
            "It registered none.",
        ),
        templates=_templates(() if version is None else list_version_templates(version.id), now),
    )


def _needed(decision: TemplateDecision | None) -> str:
    """Give what a deploy of this version would do about its templates now, why and where."""
    if decision is None:
        return ""
    return ", ".join((f"{decision.mode} ({decision.reason})", *decision.regions))


def _templates(rows: Sequence[TemplateView], now: datetime) -> Table:
    return Table(
        "compute-templates",
        ("Machine", "Region", "Status", "Mode", "Reason", "Attempts", "Finished", "Error"),
        tuple(
            (
                code(row.preset),
                Cell(row.region),
                word(Word(row.status.value.capitalize(), TEMPLATE_TONES.get(row.status, "live"))),
                Cell(f"{row.mode}, may be missing" if _may_miss(row) else row.mode),
                code(row.reason),
                Cell(str(row.attempts), kind="number"),
                at(row.finished_at, now),
                Cell(row.error or "", kind="prose"),
            )
            for row in rows
        ),
        "None were asked for.",
    )


def _may_miss(row: TemplateView) -> bool:
    return row.mode == TemplateMode.REQUIRED and not row.is_required


def _row(
    placed: PlacedDeployment, place: EnvironmentPlace | None, now: datetime
) -> tuple[Cell, ...]:
    row = placed.deployment
    return (
        Cell(row.version, href=reverse("admin:deployment", args=[row.id])),
        word(_status(row.status)),
        _whose(placed, place),
        Cell("current" if placed.is_current else ""),
        code(row.content_hash[:12]),
        at(row.created_at, now),
        code(row.id),
    )


def _status(state: DeploymentState) -> Word:
    return Word(state.value.capitalize().replace("_", " "), TONES.get(state, "live"))


def _whose(placed: PlacedDeployment, place: EnvironmentPlace | None) -> Cell:
    if place is None:
        return code(placed.environment_id)
    address = reverse("admin:organization", args=[place.organization.id])
    name = f"{place.organization.slug} {place.environment.slug}"
    return Cell(name, href=address, title=place.organization.title)
