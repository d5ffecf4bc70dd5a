"""Whether reconcilers run in time and find what they should: what is said, and their page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from django.urls import reverse
from django.views.decorators.http import require_safe

from runs.bookkeeping import NAME as BOOKS
from runs.reconciler_records import list_reconcilers
from runs.tasks import ALL_RECONCILERS
from webapp.admin.pages import page
from webapp.admin.tables import Cell, Table, at, code, number, word
from webapp.celery_settings import RECONCILE_EVERY_S
from webapp.dashboard.words import Word, count_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest, HttpResponse

    from runs.reconciler_records import ReconcilerState

LATE_TIMES: Final = 3  # intervals without a run, and then some
LATE_S: Final = 30.0
HEADERS: Final = ("Reconciler", "State", "Last run", "Every", "Found", "Repaired", "Error")


class Repairs(NamedTuple):
    """The reconcilers that need a person."""

    late: tuple[str, ...]  # names; the worker, beat or Valkey is away
    failing: tuple[ReconcilerState, ...]  # whose last run ended early
    differences: int  # between runs and queue; not 0 is a fault


class Trouble(NamedTuple):
    """One sentence about them."""

    tone: Literal["warn", "bad"]
    text: str


def repairs_of(states: Sequence[ReconcilerState], every_s: Mapping[str, float]) -> Repairs:
    """Give what is wrong, of all reconcilers and how often each is woken."""
    return Repairs(
        late=tuple(one.name for one in states if is_late(one, every_s[one.name])),
        failing=tuple(one for one in states if one.error is not None),
        differences=next((one.found for one in states if one.name == BOOKS), 0),
    )


def is_late(state: ReconcilerState, every_s: float) -> bool:
    """Tell whether a reconciler has not run for longer than a busy worker explains."""
    return state.age_s is None or state.age_s > LATE_TIMES * every_s + LATE_S


def repairs_cell(repairs: Repairs) -> Cell:
    """Say in a few words how they are."""
    parts = (
        (repairs.differences, f"{count_text(repairs.differences, 'difference')} found"),
        (len(repairs.failing), f"{len(repairs.failing)} failing"),
        (len(repairs.late), f"{len(repairs.late)} late"),
    )
    text = ", ".join(text for count, text in parts if count)
    is_bad = repairs.differences or repairs.failing
    state = Word(text or "in time", "bad" if is_bad else "warn" if text else "good")
    return word(state)._replace(href=reverse("admin:reconcilers"))


def repairs_trouble(repairs: Repairs) -> tuple[Trouble, ...]:
    """Say what is wrong and what that means, the worst first."""
    found: list[Trouble] = []
    if repairs.differences:
        said = count_text(repairs.differences, "difference")
        text = f"The books differ: {BOOKS} found {said} between runs and queue, a fault."
        found.append(Trouble("bad", f"{text} The log line books.differed names the runs."))
    found.extend(
        Trouble("bad", f"The reconciler {one.name} fails: {one.error}.") for one in repairs.failing
    )
    if repairs.late:
        others = len(repairs.late) - 1
        more = f" and {count_text(others, 'other')}" if others else ""
        text = f"The reconciler {repairs.late[0]}{more} did not run in time"
        what = "Delays, retries and stalls are late until worker, beat and Valkey are back."
        found.append(Trouble("warn", f"{text}. {what}"))
    return tuple(found)


def read_repairs() -> Repairs:
    """Give what is wrong now."""
    return repairs_of(list_reconcilers(ALL_RECONCILERS), RECONCILE_EVERY_S)


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show every reconciler with its last run."""
    now, states = datetime.now(UTC), list_reconcilers(ALL_RECONCILERS)
    return page(
        request,
        "listing.html",
        title="Reconcilers",
        lead=f"{repairs_cell(repairs_of(states, RECONCILE_EVERY_S)).text.capitalize()}.",
        table=Table("reconcilers", HEADERS, tuple(_row(one, now) for one in states), "None."),
    )


def _row(state: ReconcilerState, now: datetime) -> tuple[Cell, ...]:
    every_s = RECONCILE_EVERY_S[state.name]
    return (
        code(state.name),
        word(_state(state, every_s)),
        Cell("never") if state.last_run_at is None else at(state.last_run_at, now),
        Cell(f"{every_s:,.0f} s", "number"),
        number(state.found),
        number(state.fixed),
        Cell(state.error or "", "prose"),
    )


def _state(state: ReconcilerState, every_s: float) -> Word:
    if state.error is not None:
        return Word("failing", "bad")
    if state.name == BOOKS and state.found:
        return Word("differences", "bad")
    return Word("late", "warn") if is_late(state, every_s) else Word("in time", "good")
