"""The bulk actions there are, and how far each has come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from runs.bulk_selectors import get_bulk_action, list_bulk_actions, list_bulk_failures
from runs.services.bulk_actions import abort_bulk_action
from tenants.errors import Conflict
from tenants.permissions import Action
from webapp.dashboard.access import Place, origin_for, place_for, require
from webapp.dashboard.answers import see_other
from webapp.dashboard.bulk_words import BULK_WORDS, VERBS, headline
from webapp.dashboard.deployment_rows import People
from webapp.dashboard.parts import is_part
from webapp.dashboard.run_facts import Fact
from webapp.dashboard.words import Moment, Word, moment

if TYPE_CHECKING:
    from runs.bulk_selectors import BulkActionView

PAGE_SIZE: Final = 25
PAGE: Final = "bulk-action"  # all of an action, while it is under way


class BulkRow(NamedTuple):
    """An action as lists show it."""

    id: str
    status: Word
    headline: str
    name: str
    who: str
    began: Moment


@login_required
@require_safe
def bulk_list(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer which bulk actions there are, the newest first."""
    place = place_for(request, organization, environment)
    require(place, Action.READ)
    now = datetime.now(UTC)
    found = list_bulk_actions(
        **_within(place),
        size=PAGE_SIZE,
        after=request.GET.get("after"),
        before=request.GET.get("before"),
    )
    people = People(place.organization, [row.actor for row in found.rows])
    context = {
        "place": place,
        "section": "runs",
        "rows": [_row(row, people, now) for row in found.rows],
        "older": found.next and urlencode({"after": found.next}),
        "newer": found.previous and urlencode({"before": found.previous}),
    }
    return render(request, "runs/bulk_list.html", context)


@login_required
@require_safe
def bulk_page(
    request: HttpRequest, organization: str, environment: str, bulk_action_id: str
) -> HttpResponse:
    """Answer how far an action has come, and which runs it could not act on."""
    place = place_for(request, organization, environment)
    standing = require(place, Action.READ)
    row = get_bulk_action(bulk_action_id, **_within(place))
    context = _shown(place, row, datetime.now(UTC))
    context["may_abort"] = context["is_live"] and standing.may(Action.ACT_ON_RUNS)
    if is_part(request, PAGE):
        return render(request, "runs/_bulk_part.html", context)
    return render(request, "runs/bulk.html", context)


@login_required
@require_POST
def abort(
    request: HttpRequest, organization: str, environment: str, bulk_action_id: str
) -> HttpResponse:
    """Leave alone the runs that an action has not come to."""
    place = place_for(request, organization, environment)
    require(place, Action.ACT_ON_RUNS)
    now, origin = datetime.now(UTC), origin_for(request)
    try:
        abort_bulk_action(bulk_action_id, now=now, **_within(place), **origin)
    except Conflict:
        messages.info(request, "It was over already; nothing was changed.")
    return see_other(reverse("bulk_action", args=[organization, environment, bulk_action_id]))


def _shown(place: Place, row: BulkActionView, now: datetime) -> dict[str, Any]:
    people = People(place.organization, [row.actor])
    ended = None if row.completed_at is None else moment(row.completed_at, now)
    facts = [
        Fact("Runs", text=row.name or ""),
        Fact("Region", text=row.target_region or ""),
        Fact("Begun by", text=people.name(row.actor)),
        Fact("Began", at=moment(row.created_at, now)),
        Fact("Ended", at=ended),
        Fact("Bulk action", code=row.id),
    ]
    return {
        "place": place,
        "section": "runs",
        "action": row,
        "headline": headline(row),
        "status": BULK_WORDS[row.status],
        "verb": VERBS[row.kind],
        "is_live": row.status == "PENDING",
        "handled": row.success + row.failure,
        "here": reverse("bulk_action", args=[place.organization.slug, place.current.slug, row.id]),
        "facts": [fact for fact in facts if any(fact[1:])],
        "failures": list_bulk_failures(row.id) if row.failure else (),
    }


def _row(row: BulkActionView, people: People, now: datetime) -> BulkRow:
    return BulkRow(
        row.id,
        BULK_WORDS[row.status],
        headline(row),
        row.name or "",
        people.name(row.actor),
        moment(row.created_at, now),
    )


def _within(place: Place) -> dict[str, Any]:
    return {
        "organization_id": place.organization.id,
        "environment_ids": place.environment_ids,
    }
