"""The settings page: an organization's projects and environments, and a new project."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from tenants.errors import Conflict, Invalid
from tenants.permissions import Action
from tenants.projects import create_environment, create_project
from tenants.words import EnvironmentType
from webapp.dashboard.access import ENVIRONMENT_NAMES, Place, origin_for, place_for, require
from webapp.dashboard.answers import see_other
from webapp.dashboard.regions import project_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenants.selectors import EnvironmentView, ProjectView


class ProjectRows(NamedTuple):
    """A project with its environments, production first."""

    project: ProjectView
    environments: Sequence[tuple[str, EnvironmentView]]  # with the name of its kind

    @property
    def has_preview(self) -> bool:
        """Whether it has the one kind of environment that it was not made with."""
        return any(one.type == EnvironmentType.PREVIEW for _, one in self.environments)


@login_required
@require_safe
def settings(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer what the organization has."""
    place = place_for(request, organization, environment)
    standing = require(place, Action.READ)
    context = {
        "place": place,
        "section": "settings",
        "projects": [_rows(project, place) for project in place.projects],
        "may_create": standing.may(Action.MANAGE_PROJECTS),
        "role": standing.role,
    }
    return render(request, "rooms/settings.html", context)


@login_required
@require_POST
@sensitive_variables("made")
def make_project(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Make a project, and show the keys of its environments this once."""
    place = place_for(request, organization, environment)
    require(place, Action.MANAGE_PROJECTS)
    name = request.POST.get("name", "")
    now, origin = datetime.now(UTC), origin_for(request)
    try:
        made = create_project(place.organization.id, name=name, now=now, **origin)
    except (Invalid, Conflict) as error:
        messages.error(request, f"No project was made: {_reason(error)}.")
        return see_other(reverse("settings", args=[organization, environment]))
    keys = [
        (ENVIRONMENT_NAMES[one.environment.type], one.key.plaintext)
        for one in reversed(made.environments)
    ]
    context = {
        "place": place,
        "section": "settings",
        "back": reverse("settings", args=[organization, environment]),
        "project": made.project,
        "keys": keys,
    }
    return render(request, "rooms/project_once.html", context)


@login_required
@require_POST
@sensitive_variables("made")
def make_preview(
    request: HttpRequest, organization: str, environment: str, ref: str
) -> HttpResponse:
    """Make the preview environment of a project, and show its key this once."""
    place = place_for(request, organization, environment)
    require(place, Action.MANAGE_PROJECTS)
    project = project_in(place, ref)
    now, origin = datetime.now(UTC), origin_for(request)
    try:
        kind = request.POST.get("type", "")
        made = create_environment(project.id, kind=kind, now=now, **origin)
    except Conflict as error:
        messages.error(request, f"No environment was made: {error}.")
        return see_other(reverse("settings", args=[organization, environment]))
    context = {
        "place": place,
        "section": "settings",
        "back": reverse("settings", args=[organization, environment]),
        "secret": made.key.plaintext,
        "name": f"{project.name}, {ENVIRONMENT_NAMES[made.environment.type]}",
        "replaces": "",
    }
    return render(request, "rooms/key_once.html", context)


def _reason(error: Exception) -> str:
    problems = error.problems if isinstance(error, Invalid) else ()
    return f"it needs {problems[0].message}" if problems else str(error)


def _rows(project: ProjectView, place: Place) -> ProjectRows:
    return ProjectRows(
        project,
        [
            (choice.name, one)
            for choice in place.choices
            for one in choice.environments
            if one.project_id == project.id
        ],
    )
