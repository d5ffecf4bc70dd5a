"""Cancel or replay many runs: what it would do, and the beginning of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from deployments.region_choices import list_available_regions
from runs.bulk import MAX_NAME, BulkChoice, BulkKind, NewBulkAction
from runs.services.bulk_actions import count_bulk_runs, create_bulk_action
from tenants.errors import Invalid, Refused
from tenants.permissions import Action
from tenants.words import EnvironmentType
from webapp.dashboard.access import Place, origin_for, place_for, require
from webapp.dashboard.answers import see_other
from webapp.dashboard.bulk_words import VERBS, order_text
from webapp.dashboard.run_filters import KEYS, Filters, read_filters, time_text
from webapp.dashboard.run_list import environment_ids_for, runs_address

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS: Final[dict[str, BulkKind]] = {"cancel": "cancel", "replay": "replay"}
MAX_REGION: Final = 200


class Asked(NamedTuple):
    """What a form asks for: what to do, and to which runs."""

    kind: BulkKind
    filters: Filters
    run_ids: tuple[str, ...]  # chosen one by one; none: all that the filters match
    region: str | None
    until: datetime  # runs that are made after it are not meant

    @property
    def phrase(self) -> str:
        """The runs that are meant, in words."""
        if self.run_ids:
            count = len(self.run_ids)
            return f"{count} chosen run{'' if count == 1 else 's'}"
        return self.filters.phrase("runs")

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The fields that ask for the same again, with a fixed end."""
        chosen = [("run", run_id) for run_id in self.run_ids]
        filters = self.filters
        if not chosen and not filters.until:
            filters = filters._replace(until=(time_text(self.until, round_up=True),))
        return [("action", self.kind), *chosen, *filters.pairs]


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new_bulk(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer what an action would be about; by POST begin it and show how far it has come."""
    place = place_for(request, organization, environment)
    require(place, Action.ACT_ON_RUNS)
    now = datetime.now(UTC)
    if request.method != "POST":
        return render(request, "runs/bulk_new.html", _shown(place, _asked(request.GET, now)))
    asked = _asked(request.POST, now)
    try:
        return _begun(request, place, asked, now)
    except (Invalid, Refused) as error:
        messages.error(request, f"Nothing was begun. {error}.")
        return see_other(_list_address(place, asked))


def _asked(given: QueryDict, now: datetime) -> Asked:
    kind = KINDS.get(given.get("action", "cancel"))
    if kind is None:
        raise Http404
    return Asked(
        kind,
        read_filters({key: given.getlist(key) for key in KEYS}),
        tuple(dict.fromkeys(filter(None, given.getlist("run")))),
        given.get("target", "").strip()[:MAX_REGION] or None,
        now,
    )


def _begun(request: HttpRequest, place: Place, asked: Asked, now: datetime) -> HttpResponse:
    new = NewBulkAction(
        kind=asked.kind,
        choice=_choice(place, asked),
        organization_id=place.organization.id,
        name=asked.phrase[:MAX_NAME],
        target_region=asked.region if asked.kind == "replay" else None,
    )
    action_id = create_bulk_action(new, now=now, **origin_for(request))
    where = [place.organization.slug, place.current.slug, action_id]
    return see_other(reverse("bulk_action", args=where))


def _shown(place: Place, asked: Asked) -> dict[str, Any]:
    total, refusal = _total(place, asked)
    return {
        "place": place,
        "section": "runs",
        "refusal": refusal,
        "asked": asked,
        "verb": VERBS[asked.kind],
        "button": order_text(asked.kind, total),
        "regions": _regions(place) if asked.kind == "replay" else (),
        "back": _list_address(place, asked),
    }


def _total(place: Place, asked: Asked) -> tuple[int, str]:
    """Count the runs that are meant; give why nothing can be done when nothing can."""
    try:
        return count_bulk_runs(asked.kind, _choice(place, asked)), ""
    except (Invalid, Refused) as error:
        return 0, f"{error}."


def _choice(place: Place, asked: Asked) -> BulkChoice:
    if asked.run_ids:
        return BulkChoice(environment_ids=place.environment_ids, run_ids=asked.run_ids)
    if not asked.filters.pairs:
        raise Invalid("Choose runs, or narrow the list first: all runs are never meant")
    wanted, ids = asked.filters.wanted(asked.until), environment_ids_for(place, asked.filters)
    return BulkChoice(environment_ids=ids, wanted=wanted)


def _regions(place: Place) -> Sequence[str]:
    """Give where replays may go besides where each run was."""
    if place.current.type == EnvironmentType.DEVELOPMENT:
        return ()
    return sorted({name for one in place.projects for name in list_available_regions(one)})


def _list_address(place: Place, asked: Asked) -> str:
    """Give the list that the action was asked for from."""
    query = asked.filters.query
    return f"{runs_address(place)}?{query}" if query else runs_address(place)
