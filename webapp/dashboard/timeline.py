"""What a run did, as spans on one axis, made from its snapshots. Pure.

Nothing of the machinery is in a span: no queue of a worker group, no supervisor. What is left is
what the run's owner may know.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from runs.states import Event, ExecutionStatus, RunStatus
from webapp.dashboard.words import Moment, Tone, duration_text, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_SPANS: Final = 200
LEAST_PERCENT: Final = 0.6  # a bar that can still be seen


class Recorded(Protocol):
    """What is read of a snapshot here."""

    execution_status: str
    run_status: str
    event: str
    attempt_number: int | None
    is_valid: bool
    created_at: datetime


class Span(NamedTuple):
    """One stretch of a run's life."""

    label: str
    result: str  # how it ended, "" when that goes without saying
    tone: Tone  # of the bar
    is_wait: bool  # drawn hatched
    began: Moment
    length: str
    offset_percent: float  # on the axis that all spans share
    width_percent: float


class _Stretch(NamedTuple):
    label: str
    is_wait: bool
    began: datetime
    ended: datetime
    end_event: str | None  # None: it goes on

    def joined(self, later: _Stretch) -> _Stretch:
        return self._replace(ended=later.ended, end_event=later.end_event)


_X = ExecutionStatus
_WAITS: Final[dict[str, str]] = {
    _X.RUN_CREATED: "Waiting for a version",
    _X.DELAYED: "Delayed",
    _X.QUEUED: "Queued",
    _X.QUEUED_EXECUTING: "Waiting to go on",
    _X.EXECUTING_WITH_WAITPOINTS: "Waiting",
    _X.SUSPENDED: "Waiting",
}
_WORK: Final[dict[str, str]] = {
    _X.PENDING_EXECUTING: "Starting",
    _X.PENDING_CANCEL: "Stopping",
}
_RESULTS: Final[dict[str, tuple[str, Tone]]] = {
    Event.SUCCEED: ("completed", "good"),
    Event.FAIL: ("failed", "bad"),
    Event.RETRY_IN_PLACE: ("failed, to be retried", "bad"),
    Event.RETRY_QUEUED: ("failed, to be retried", "bad"),
    Event.REQUEUE: ("did not start, queued again", "warn"),
    Event.CANCEL: ("cancel requested", "warn"),
    Event.CONFIRM_CANCEL: ("canceled", "idle"),
    Event.EXPIRE: ("expired", "warn"),
}


def timeline(snapshots: Sequence[Recorded], *, now: datetime) -> list[Span]:
    """Give the spans of a run, oldest first; the last one reaches to now while the run lives.

    Rule: refused moves are left out; neighbours of one label are one span.
    """
    valid = [snapshot for snapshot in snapshots if snapshot.is_valid]
    if not valid:
        return []
    began, ended = valid[0].created_at, _end(valid, now)
    total = max(ended - began, timedelta(milliseconds=1))
    return [_span(part, began, total, now) for part in _joined(_stretches(valid, ended))]


def _end(valid: Sequence[Recorded], now: datetime) -> datetime:
    last = valid[-1]
    is_over = last.execution_status == _X.FINISHED
    return last.created_at if is_over else max(now, last.created_at)


def _stretches(valid: Sequence[Recorded], ended: datetime) -> Iterable[_Stretch]:
    for here, following in pairwise([*valid, None]):
        if here is None or here.execution_status == _X.FINISHED:
            continue
        label, is_wait = _label(here)
        if following is None:
            yield _Stretch(label, is_wait, here.created_at, ended, None)
        else:
            at = following.created_at
            yield _Stretch(label, is_wait, here.created_at, at, following.event)


def _label(snapshot: Recorded) -> tuple[str, bool]:
    execution = snapshot.execution_status
    if snapshot.run_status == RunStatus.RETRYING_AFTER_FAILURE:
        return "Waiting to retry", True
    if execution == _X.QUEUED and snapshot.event == Event.RETRY_QUEUED:
        return "Waiting to retry", True
    if execution in _WAITS:
        return _WAITS[execution], True
    if execution in _WORK:
        return _WORK[execution], False
    return f"Attempt {snapshot.attempt_number or 1}", False


def _joined(parts: Iterable[_Stretch]) -> list[_Stretch]:
    found: list[_Stretch] = []
    for part in parts:
        if found and found[-1].label == part.label:
            found[-1] = found[-1].joined(part)
        else:
            found.append(part)
    return found[:MAX_SPANS]


def _span(part: _Stretch, began: datetime, total: timedelta, now: datetime) -> Span:
    result, tone = _RESULTS.get(part.end_event or "", ("", "idle"))
    if part.end_event is None:
        result, tone = "goes on", "idle" if part.is_wait else "live"
    width = max(LEAST_PERCENT, (part.ended - part.began) / total * 100)
    offset = min((part.began - began) / total * 100, 100 - width)
    return Span(
        label=part.label,
        result=result,
        tone=tone,
        is_wait=part.is_wait,
        began=moment(part.began, now),
        length=duration_text(part.ended - part.began),
        offset_percent=round(offset, 2),
        width_percent=round(width, 2),
    )
