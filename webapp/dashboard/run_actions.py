"""What can be done about a run: cancel it, or run it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from deployments.region_choices import list_available_regions
from flags.callers import get_caller_without_key
from runs.placement import Why
from runs.selectors import get_run_among
from runs.services.cancellation import cancel_run
from runs.services.replay import replay_run
from runs.states import FINAL
from tenants.errors import Refused
from tenants.permissions import Action
from tenants.words import EnvironmentType
from webapp.dashboard.access import SOURCE, Place, place_for, require
from webapp.dashboard.answers import see_other

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.selectors import RunView

MAX_REGION: Final = 200


class ReplayOffer(NamedTuple):
    """What a replay may choose, and what it may not keep."""

    regions: Sequence[str]  # besides the run's own; none in development
    kept: str  # where it goes when nothing is chosen, "" when that is not possible or not said
    lost: str  # the run's region, when it is not available any more; else ""


def replay_offer(place: Place, run: RunView) -> ReplayOffer:
    """Give where a replay of this run may go."""
    if place.current.type == EnvironmentType.DEVELOPMENT:
        return ReplayOffer((), "", "")
    project_id = next(
        one.project_id for one in place.current.environments if one.id == run.environment_id
    )
    project = next(one for one in place.projects if one.id == project_id)
    available = list_available_regions(project)
    own = (run.requested_region if run.why == Why.PINNED else run.region) or ""
    is_lost = bool(own) and own not in available
    others = [name for name in available if name != own]
    return ReplayOffer(others, "" if is_lost else own, own if is_lost else "")


@login_required
@require_POST
def cancel(request: HttpRequest, organization: str, environment: str, run_id: str) -> HttpResponse:
    """Cancel a run and the runs it started."""
    place = place_for(request, organization, environment)
    require(place, Action.ACT_ON_RUNS)
    run = get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    if run.status in FINAL:
        messages.info(request, "The run was over already; nothing was changed.")
    else:
        cancel_run(environment_id=run.environment_id, run_id=run.id)
        messages.success(request, "Cancel was requested.")
    return see_other(run_address(place, run.id))


@login_required
@require_POST
def replay(request: HttpRequest, organization: str, environment: str, run_id: str) -> HttpResponse:
    """Run it again, and show the new run."""
    place = place_for(request, organization, environment)
    require(place, Action.ACT_ON_RUNS)
    run = get_run_among(environment_ids=place.environment_ids, run_id=run_id)
    caller = get_caller_without_key(run.environment_id)
    region = request.POST.get("region", "").strip()[:MAX_REGION] or None
    now = datetime.now(UTC)
    try:
        made = replay_run(caller, run_id=run.id, region=region, source=SOURCE, now=now)
    except Refused as error:
        messages.error(request, f"The run was not replayed: {error}")
        return see_other(run_address(place, run.id))
    messages.success(request, "This is the replay.")
    return see_other(run_address(place, made.run_id))


def run_address(place: Place, run_id: str) -> str:
    """Give the address of a run's page."""
    return reverse("run", args=[place.organization.slug, place.current.slug, run_id])
