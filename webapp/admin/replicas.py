"""The page of replicas: which process decides by which revision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.views.decorators.http import require_safe

from ledger.selectors import current_revision, list_replicas
from webapp.admin.arrival import arrival_of
from webapp.admin.pages import page
from webapp.admin.tables import Cell, Table, at, code, number, word
from webapp.dashboard.words import Word

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from ledger.selectors import ReplicaView
    from webapp.admin.arrival import Arrival

HEADERS: Final = ("Process", "State", "Revision", "Snapshot age", "Host", "Pid", "Reported")
EMPTY: Final = "No process has reported itself in the last half minute."


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show the processes that decide, or the part of the page that is kept fresh."""
    now, found = datetime.now(UTC), list_replicas()
    arrival = arrival_of(current_revision(), found)
    rows = tuple(_row(replica, arrival, now) for replica in found)
    part = "_replicas.html" if request.headers.get("HX-Request") else "replicas.html"
    return page(
        request,
        part,
        title="Replicas",
        arrival=arrival,
        table=Table("replicas", HEADERS, rows, EMPTY),
    )


def _row(replica: ReplicaView, arrival: Arrival, now: datetime) -> tuple[Cell, ...]:
    state = Word("behind", "warn") if replica in arrival.behind else Word("in step", "good")
    age = "cold" if replica.age_ms is None else f"{replica.age_ms / 1000:.1f} s"
    return (
        Cell(replica.process),
        word(state),
        number(replica.revision),
        Cell(age, "number"),
        code(replica.host),
        number(replica.pid),
        at(replica.seen_at, now),
    )
