"""The regions page: where a project's runs can go, and where they go by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from deployments.region_choices import RegionChoice, list_region_choices
from deployments.routing import set_default_region
from tenants.errors import Refused
from tenants.permissions import Action
from webapp.dashboard.access import Place, origin_for, place_for, require
from webapp.dashboard.answers import see_other

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenants.selectors import ProjectView

MAX_REGION: Final = 200


class ProjectRegions(NamedTuple):
    """A project with the regions it may use."""

    project: ProjectView
    default: str  # "" while there is none
    choices: Sequence[RegionChoice]


@login_required
@require_safe
def regions(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer where runs can go."""
    place = place_for(request, organization, environment)
    standing = require(place, Action.READ)
    context = {
        "place": place,
        "section": "regions",
        "projects": [_regions_of(project, place) for project in place.projects],
        "may_choose": standing.may(Action.CHOOSE_REGION),
        "is_staff": place.viewer.is_staff,
    }
    return render(request, "rooms/regions.html", context)


@login_required
@require_POST
def choose_region(
    request: HttpRequest, organization: str, environment: str, ref: str
) -> HttpResponse:
    """Make a region the default of a project, through the gates that a trigger has."""
    place = place_for(request, organization, environment)
    require(place, Action.CHOOSE_REGION)
    project = project_in(place, ref)
    region = request.POST.get("region", "")[:MAX_REGION]
    answer = see_other(reverse("regions", args=[organization, environment]))
    is_staff, origin = place.viewer.is_staff, origin_for(request)
    try:
        set_default_region(project, region, is_staff=is_staff, **origin)
    except Refused as error:
        messages.error(request, f"Nothing was changed. {error}")
        return answer
    messages.success(request, f"New runs of {project.name} that name no region go to {region}.")
    return answer


def project_in(place: Place, ref: str) -> ProjectView:
    """Give a project of the place's organization, or raise `Http404`."""
    for project in place.projects:
        if project.ref == ref:
            return project
    raise Http404


def _regions_of(project: ProjectView, place: Place) -> ProjectRegions:
    choices = list_region_choices(project, is_staff=place.viewer.is_staff)
    default = next((choice.name for choice in choices if choice.is_default), "")
    return ProjectRegions(project, default, choices)
