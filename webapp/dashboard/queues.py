"""The queues room: how much waits and executes in each, and the switches of an incident."""

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

from deployments.queue_selectors import (
    PlacedQueue,
    PlacedQueues,
    QueueRef,
    get_placed_queue,
    list_placed_queues,
)
from deployments.queues import (
    LimitOverride,
    override_queue_limit,
    reset_queue_limit,
    set_queue_paused,
)
from runs.queue_selectors import QueueCounts, count_by_queue
from tenants.errors import Invalid
from tenants.permissions import Action
from webapp.dashboard.access import Place, origin_for, place_for, require, scope_in
from webapp.dashboard.answers import see_other
from webapp.dashboard.parts import is_part
from webapp.dashboard.queue_words import limit_text, queue_name, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE_SIZE: Final = 50
MAX_PAGE: Final = 10_000
MAX_DIGITS: Final = 6
LIST: Final = "queues"  # the rows, which are refreshed


class QueueRow(NamedTuple):
    """A queue as the page lists it."""

    id: str
    stored_name: str  # as the address of its runs has it
    name: str
    is_task: bool  # a task's own
    project: str  # its name, "" when the organization has only one
    paused: bool
    running: int
    queued: int
    limit: str
    most: int  # the environment's limit, above which no other goes
    declared: str  # what resetting brings back; "" when nothing is overridden


@login_required
@require_safe
def queues(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer which queues there are, and how full each is."""
    place = place_for(request, organization, environment)
    standing = require(place, Action.READ)
    page = _page_of(request)
    found = list_placed_queues(environment_ids=place.environment_ids, page=page, size=PAGE_SIZE)
    context = {
        "place": place,
        "section": "queues",
        "sentence": sentence(found.total, found.paused),
        "rows": _rows(place, found),
        "has_projects": len(place.projects) > 1,
        "may_steer": standing.may(Action.STEER_QUEUES),
        "here": request.get_full_path(),
        "older": urlencode({"page": page + 1}) if page * PAGE_SIZE < found.total else None,
        "newer": urlencode({"page": page - 1}) if page > 1 else None,
    }
    template = "rooms/_queues.html" if is_part(request, LIST) else "rooms/queues.html"
    return render(request, template, context)


@login_required
@require_POST
def pause(request: HttpRequest, organization: str, environment: str, queue_id: str) -> HttpResponse:
    """Hand out nothing more of a queue, or go on."""
    place = place_for(request, organization, environment)
    require(place, Action.STEER_QUEUES)
    is_pause = request.POST.get("do") == "pause"
    context = _write_context(request, place, queue_id)
    changed = set_queue_paused(paused=is_pause, **context)
    says = "is paused: its runs wait, those that execute go on" if is_pause else "goes on"
    messages.success(request, f"{queue_name(changed)} {says}.")
    return see_other(_address(place))


@login_required
@require_POST
def limit(request: HttpRequest, organization: str, environment: str, queue_id: str) -> HttpResponse:
    """Put another limit in the place of the declared one; an empty field puts that back."""
    place = place_for(request, organization, environment)
    require(place, Action.STEER_QUEUES)
    context, typed = _write_context(request, place, queue_id), request.POST.get("limit", "").strip()
    try:
        if typed:
            override = LimitOverride(limit=_whole(typed))
            changed = override_queue_limit(override=override, **context)
        else:
            changed = reset_queue_limit(**context)
    except Invalid as error:
        messages.error(request, f"Nothing was changed. {error}.")
        return see_other(_address(place))
    messages.success(request, f"{queue_name(changed)} executes {limit_text(changed.limit)} now.")
    return see_other(_address(place))


def _rows(place: Place, found: PlacedQueues) -> list[QueueRow]:
    counts = _counts(found)
    return [_row(place, one, counts[one.environment_id][one.queue.name]) for one in found.rows]


def _counts(found: PlacedQueues) -> Mapping[str, Mapping[str, QueueCounts]]:
    """Count the runs of these queues: one query for each environment."""
    names: dict[str, list[str]] = {}
    for one in found.rows:
        names.setdefault(one.environment_id, []).append(one.queue.name)
    return {
        environment_id: count_by_queue(environment_id=environment_id, names=queues)
        for environment_id, queues in names.items()
    }


def _row(place: Place, one: PlacedQueue, counts: QueueCounts) -> QueueRow:
    queue = one.queue
    environment = next(env for env in place.current.environments if env.id == one.environment_id)
    project = next(project for project in place.projects if project.id == environment.project_id)
    is_overridden = queue.overridden_at is not None
    return QueueRow(
        id=queue.id,
        stored_name=queue.name,
        name=queue_name(queue),
        is_task=queue.type == "task",
        project=project.name if len(place.projects) > 1 else "",
        paused=queue.paused,
        running=counts.running,
        queued=counts.queued,
        limit=limit_text(queue.limit),
        most=environment.concurrency_limit,
        declared=limit_text(queue.declared_limit) if is_overridden else "",
    )


def _write_context(request: HttpRequest, place: Place, queue_id: str) -> dict[str, Any]:
    """Give what every change of a queue takes, or raise `UnknownQueue`."""
    found = get_placed_queue(environment_ids=place.environment_ids, queue_id=queue_id)
    return {
        "scope": scope_in(place, found.environment_id),
        "ref": QueueRef("id", queue_id),
        "now": datetime.now(UTC),
        **origin_for(request),
    }


def _whole(typed: str) -> int:
    if not (typed.isascii() and typed.isdecimal() and len(typed) <= MAX_DIGITS):
        raise Invalid(f"{typed[:20]!r} is no whole number of runs")
    return int(typed)


def _page_of(request: HttpRequest) -> int:
    typed = request.GET.get("page", "1")
    is_number = typed.isascii() and typed.isdecimal() and len(typed) <= MAX_DIGITS
    return min(max(1, int(typed)), MAX_PAGE) if is_number else 1


def _address(place: Place) -> str:
    return reverse("queues", args=[place.organization.slug, place.current.slug])
