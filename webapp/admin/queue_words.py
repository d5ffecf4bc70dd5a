"""What is said of runs that wait on a worker queue. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from runs.starting import QueueStanding

REFUSED_AFTER_S: Final = 30.0  # a hand-back that is younger may be over at the next try
MINUTE_S: Final = 60.0
IDLE_AFTER_S: Final = MINUTE_S  # what may be taken and is not, while nothing else is being done


def is_refused(standing: QueueStanding) -> bool:
    """Tell whether starts fail for long enough to be told."""
    return standing.handed_back > 0 and standing.handed_back_s >= REFUSED_AFTER_S


def waits_text(standing: QueueStanding) -> str:
    """Say how much waits, to follow the name of a queue; "" when nothing does."""
    if not standing.ready:
        return ""
    return f", {standing.ready:,} wait" + ("s" if standing.ready == 1 else "")


def trouble_text(standing: QueueStanding) -> str:
    """Say that starts fail, for whom and why, or that nobody takes anything; "" when all is well.

    >>> from runs.starting import QueueStanding
    >>> trouble_text(QueueStanding("us-east-1", 3, 75.0, 0, 0, 0.0, ""))
    'Nobody takes what waits on us-east-1: 3 runs, the oldest for 1 min.'
    """
    if is_refused(standing):
        were = "was" if standing.handed_back == 1 else "were"
        return (
            f"Starts on {standing.worker_queue} fail: {count_text(standing.handed_back, 'run')}"
            f" {were} handed back and cannot begin, the oldest for"
            f" {_span(standing.handed_back_s)}. {standing.last_reason.rstrip('.')}."
        )
    if standing.ready and not standing.leased and standing.ready_s >= IDLE_AFTER_S:
        return (
            f"Nobody takes what waits on {standing.worker_queue}:"
            f" {count_text(standing.ready, 'run')}, the oldest for {_span(standing.ready_s)}."
        )
    return ""


def _span(seconds: float) -> str:
    """Give whole minutes, so that a page that is kept fresh does not change all the time."""
    return f"{int(seconds) // 60:,} min" if seconds >= MINUTE_S else "under a minute"
