"""The deployments room: which versions there are, what became of each, and which one is current."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from deployments.deployment_errors import Overtaken, PromotionRefused
from deployments.lifecycle import cancel_deployment
from deployments.promotion import promote_version
from deployments.room_selectors import (
    DeploymentDetail,
    DeploymentRows,
    get_deployment_detail,
    list_deployment_rows,
)
from deployments.versions import is_newer
from runs.version_selectors import count_concerned_runs
from tenants.errors import Conflict
from tenants.permissions import Action
from tenants.words import EnvironmentType
from webapp.dashboard.access import Place, origin_for, place_for, require, scope_in
from webapp.dashboard.answers import see_other
from webapp.dashboard.deployment_rows import (
    People,
    deployment_row,
    facts_of,
    log_of,
    people_of,
)
from webapp.dashboard.deployment_words import (
    DEPLOYMENT_WORDS,
    Promotable,
    Promotion,
    headline,
    is_unfinished,
    promotion_of,
    shown_error,
)
from webapp.dashboard.parts import is_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tenants.permissions import Standing
    from tenants.selectors import ProjectView

PAGE_SIZE: Final = 25
LIST: Final = "deployments"  # the rows, which are refreshed
PAGE: Final = "deployment"  # all of a deployment, while it is under way
BUSY_S: Final = 3  # between two refreshes while a deployment is under way
CALM_S: Final = 15
BY_HAND: Final = "Canceled on its page"


@login_required
@require_safe
def deployment_list(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer which versions there are, the newest first."""
    place = place_for(request, organization, environment)
    require(place, Action.READ)
    now = datetime.now(UTC)
    after, before = request.GET.get("after"), request.GET.get("before")
    found = list_deployment_rows(
        environment_ids=place.environment_ids, size=PAGE_SIZE, after=after, before=before
    )
    people, projects = people_of(place.organization, found.rows), _projects_of(place)
    is_busy = any(is_unfinished(one.deployment) for one in found.rows)
    is_first = after is None and before is None
    context = {
        "place": place,
        "section": "deployments",
        "sentence": _sentence(place, found),
        "rows": [deployment_row(one, people, projects, now) for one in found.rows],
        "has_projects": len(projects) > 1,
        "older": found.next and urlencode({"after": found.next}),
        "newer": found.previous and urlencode({"before": found.previous}),
        "refresh_s": BUSY_S if is_busy else CALM_S if is_first else None,
        "here": request.get_full_path(),
        "is_first": is_first,
        "is_development": place.current.type == EnvironmentType.DEVELOPMENT,
    }
    template = "deployments/_list.html" if is_part(request, LIST) else "deployments/list.html"
    return render(request, template, context)


@login_required
@require_safe
def deployment_page(
    request: HttpRequest, organization: str, environment: str, deployment_id: str
) -> HttpResponse:
    """Answer what became of a deployment, and what making it current would mean."""
    place = place_for(request, organization, environment)
    standing = require(place, Action.READ)
    detail = get_deployment_detail(
        environment_ids=place.environment_ids, deployment_id=deployment_id
    )
    context = _shown(place, detail, standing, datetime.now(UTC))
    if is_part(request, PAGE):
        return render(request, "deployments/_deployment_part.html", context)
    return render(request, "deployments/deployment.html", context)


@login_required
@require_POST
def promote(
    request: HttpRequest, organization: str, environment: str, deployment_id: str
) -> HttpResponse:
    """Make a deployed version the current one, unless another became it since the page was read."""
    place = place_for(request, organization, environment)
    require(place, Action.CHOOSE_VERSION)
    detail = get_deployment_detail(
        environment_ids=place.environment_ids, deployment_id=deployment_id
    )
    listed, seen = detail.listed, request.POST.get("current", "")
    version = listed.deployment.version
    answer = see_other(
        reverse("deployment", args=[organization, environment, listed.deployment.id])
    )
    if listed.is_current:
        messages.info(request, f"New runs use {version} already; nothing was changed.")
        return answer
    origin, now = origin_for(request), datetime.now(UTC)
    scope = scope_in(place, listed.environment_id)
    try:
        promote_version(
            scope=scope, version=version, allow_rollback=True, seen=seen, now=now, **origin
        )
    except (PromotionRefused, Overtaken) as error:
        messages.error(request, f"Nothing was changed. {error}. Look again, and decide anew.")
        return answer
    messages.success(request, f"New runs use {version} from now on.")
    return answer


@login_required
@require_POST
def cancel(
    request: HttpRequest, organization: str, environment: str, deployment_id: str
) -> HttpResponse:
    """Call off a deploy that is under way; the current version stays."""
    place = place_for(request, organization, environment)
    require(place, Action.CHOOSE_VERSION)
    detail = get_deployment_detail(
        environment_ids=place.environment_ids, deployment_id=deployment_id
    )
    scope = scope_in(place, detail.listed.environment_id)
    actor, now = origin_for(request)["actor"], datetime.now(UTC)
    try:
        cancel_deployment(
            scope=scope, deployment_id=deployment_id, reason=BY_HAND, actor=actor, now=now
        )
        messages.success(request, "The deploy is canceled; the current version stays.")
    except Conflict:
        messages.info(request, "The deploy was over already; nothing was changed.")
    return see_other(reverse("deployment", args=[organization, environment, deployment_id]))


def _shown(
    place: Place, detail: DeploymentDetail, standing: Standing, now: datetime
) -> dict[str, Any]:
    view = detail.listed.deployment
    actors = (view.created_by, *(line.actor for line in detail.lines))
    people = People(place.organization, actors)
    current = detail.current_version
    is_current = detail.listed.is_current
    return {
        "place": place,
        "section": "deployments",
        "deployment": view,
        "is_current": is_current,
        "status": DEPLOYMENT_WORDS[view.status],
        "headline": headline(view, is_current=is_current, current_version=current, now=now),
        "error": shown_error(view, current_version=current),
        "is_live": is_unfinished(view),
        "may_cancel": is_unfinished(view) and standing.may(Action.CHOOSE_VERSION),
        "here": reverse("deployment", args=[place.organization.slug, place.current.slug, view.id]),
        "facts": facts_of(detail, people, now),
        "lines": log_of(detail, people),
        "detail": detail,
        "promotion": _promotion(place, detail)
        if detail.is_promotable and standing.may(Action.CHOOSE_VERSION)
        else None,
    }


def _promotion(place: Place, detail: DeploymentDetail) -> Promotion:
    version, current = detail.listed.deployment.version, detail.current_version
    tasks = {task.slug for task in detail.tasks}
    concerned = count_concerned_runs(environment_id=detail.listed.environment_id, tasks=tasks)
    given = Promotable(
        version=version,
        is_older=current is not None and is_newer(current, version),
        current_version=current,
        tasks=tasks,
        current_tasks=detail.current_tasks,
        environment=_environment_name(place, detail.listed.project_id),
    )
    return promotion_of(given, concerned)


def _sentence(place: Place, found: DeploymentRows) -> str:
    """Give the first line of the list: what new runs use."""
    if not found.rows and not found.current:
        return "Nothing is deployed yet"
    if len(place.current.environments) > 1:
        count = sum(one.id in found.current for one in place.current.environments)
        return f"{count} of {len(place.current.environments)} projects have a current version"
    version = next(iter(found.current.values()), None)
    return "No version is current yet" if version is None else f"New runs use {version}"


def _environment_name(place: Place, project_id: str) -> str:
    projects = _projects_of(place)
    name = place.current.name
    return f"{projects[project_id].name}, {name}" if len(projects) > 1 else name


def _projects_of(place: Place) -> Mapping[str, ProjectView]:
    return {project.id: project for project in place.projects}
