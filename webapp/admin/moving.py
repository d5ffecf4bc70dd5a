"""The page that moves what waits: how much waits where, what a move would take, and the move.

Its address carries what is asked (`?region=&to=&org=`), so other pages lead here with it filled in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode

from django.contrib import messages
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from deployments.region_snapshot import load_region_snapshot
from deployments.regions import CONTAINER, MICROVM
from rollout.moving import (
    MOST,
    MovePreview,
    MoveWish,
    RegionPreview,
    move_queued,
    preview_move,
    preview_regions,
)
from tenants.errors import Conflict, Refused
from tenants.staff_selectors import find_organization
from webapp.admin.filters import UNKNOWN_ORGANIZATION, Filter, choice_filter, text_filter
from webapp.admin.forms import ReasonForm
from webapp.admin.pages import origin_of, page
from webapp.admin.tables import Cell, Table, number
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse

    from tenants.selectors import OrganizationView

NAMES: Final[Mapping[str, str]] = {CONTAINER: "containers", MICROVM: "MicroVM"}
HEADERS: Final = ("Region", "Waiting on MicroVM", "Waiting on containers")
NO_REGION: Final = "No worker group has a region yet."
LEAD: Final = "What waits can be moved between containers and MicroVM. Nothing else moves it."


class Asked(NamedTuple):
    """What the address asks for."""

    region: str
    to: str
    organization: OrganizationView | None
    filters: tuple[Filter, ...]
    problem: str  # "" when it can be looked up

    @property
    def wish(self) -> MoveWish:
        """What is to be moved."""
        organization = self.organization
        return MoveWish(self.region, self.to, None if organization is None else organization.id)

    @property
    def address(self) -> str:
        """This page with the same question."""
        said = {"region": self.region, "to": self.to}
        if self.organization is not None:
            said["org"] = self.organization.slug
        return address_of(**said)


def address_of(**said: str) -> str:
    """Give the page's address with what is known already."""
    return f"{reverse('admin:move_queued')}?{urlencode(said)}"


@require_http_methods(["GET", "HEAD", "POST"])
def move_waiting(request: HttpRequest) -> HttpResponse:
    """Show what waits, preview a move, and make it with a reason."""
    asked = _read(request)
    if request.method != "POST" or asked.problem or not asked.region or not asked.to:
        return _show(request, asked, ReasonForm())
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _show(request, asked, form, status=400)
    try:
        done = move_queued(asked.wish, **origin_of(request, form.cleaned_data["reason"]))
    except (Conflict, Refused):
        return _show(request, asked, form, status=409)
    messages.success(request, _said(asked, done.preview.count, done.moved))
    return see_other(asked.address)


def _labels() -> tuple[str, ...]:
    rows = load_region_snapshot().rows
    return tuple(sorted({row.region for row in rows if row.region is not None}))


def _read(request: HttpRequest) -> Asked:
    query = request.GET.dict()
    region = choice_filter(query, "region", "Region", _labels())
    to = choice_filter(query, "to", "Move to", (CONTAINER, MICROVM))
    named = text_filter(query, "org", "Organization (slug or id)")
    organization = find_organization(named.value) if named.value else None
    if named.value and organization is None:
        named = named._replace(problem=UNKNOWN_ORGANIZATION)
    filters = (region, to, named)
    return Asked(region.value, to.value, organization, filters, named.problem)


def _show(
    request: HttpRequest,
    asked: Asked,
    form: ReasonForm,
    *,
    status: int = 200,
) -> HttpResponse:
    preview, refusal = None, ""
    if asked.region and asked.to and not asked.problem:
        preview, refusal = _preview(asked.wish)
    return page(
        request,
        "move.html",
        title="Move what waits",
        status=status,
        lead=LEAD if preview is None else _question(asked, preview),
        consequence="" if preview is None else _consequence(asked, preview),
        filters=asked.filters,
        refusal=refusal,
        waiting=_by_queue(preview) if preview and preview.count else None,
        form=form,
        button="" if preview is None or not preview.count else _button(asked, preview),
        regions=_regions(),
    )


def _preview(wish: MoveWish) -> tuple[MovePreview | None, str]:
    """Give what a move would take, or why there can be none."""
    try:
        return preview_move(wish), ""
    except (Conflict, Refused) as error:
        return None, str(error)


def _question(asked: Asked, preview: MovePreview) -> str:
    whose = "" if asked.organization is None else f" of {asked.organization.title}"
    if not preview.count:
        return f"Nothing{whose} waits in {asked.region} that could be moved to {NAMES[asked.to]}."
    waits = "waits" if preview.count == 1 else "wait"
    runs = count_text(preview.count, "run")
    return f"{runs}{whose} {waits} in {asked.region} and can be moved to {NAMES[asked.to]}."


def _consequence(asked: Asked, preview: MovePreview) -> str:
    if not preview.count:
        return ""
    said = (
        f"They go to {', '.join(preview.targets)} and keep their order, priority and ttl. Runs in "
        "the hands of a worker, runs that chose a MicroVM group and runs with a checkpoint stay."
    )
    if asked.to == MICROVM and asked.organization is None:
        said += " So do those of organizations that are forced out."
    if preview.count > MOST:
        said += f" One step moves {MOST:,} of them, those due first at the front."
    return said


def _button(asked: Asked, preview: MovePreview) -> str:
    return f"Move {count_text(min(preview.count, MOST), 'run')} to {NAMES[asked.to]}"


def _said(asked: Asked, count: int, moved: int) -> str:
    said = f"{count_text(moved, 'waiting run')} moved to {NAMES[asked.to]} in {asked.region}."
    if moved == count:
        return said
    return f"{said} {count - moved:,} of those counted were taken meanwhile or still wait."


def _by_queue(preview: MovePreview) -> Table:
    rows = tuple((Cell(queue, "code"), number(count)) for queue, count in preview.by_queue.items())
    return Table("by-queue", ("Worker queue", "Waiting runs"), rows, "")


def _regions() -> Table:
    """Say of every region how much of it could be moved, and lead there."""
    back, over = preview_regions(CONTAINER), preview_regions(MICROVM)
    rows = tuple(
        (Cell(one.region), _cell(one, CONTAINER), _cell(other, MICROVM))
        for one, other in zip(back, over, strict=True)
    )
    return Table("regions", HEADERS, rows, NO_REGION)


def _cell(found: RegionPreview, to: str) -> Cell:
    if found.refusal:
        return Cell("cannot be moved", tone="idle", title=found.refusal)
    if not found.preview.count:
        return Cell("nothing", tone="idle")
    href = address_of(region=found.region, to=to)
    return Cell(f"{found.preview.count:,}: move to {NAMES[to]}", href=href)
