"""How long a run waited and ran, and the sentence that says how it stands. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Protocol

from runs.states import FINAL, ExecutionStatus, RunStatus
from webapp.dashboard.words import count_text, duration_text


class TimedRun(Protocol):
    """What is read of a run here."""

    status: str
    execution_status: str
    task_slug: str
    region: str | None
    attempt_number: int
    ttl: str | None
    max_duration_s: int | None
    created_at: datetime
    delay_until: datetime | None
    first_queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


def waited(run: TimedRun, now: datetime) -> timedelta:
    """Give how long it waited for its first attempt, so far or until it ended without one.

    A delay is no wait: it counts from the moment the run was due.
    """
    began = run.first_queued_at or run.delay_until or run.created_at
    return max(timedelta(0), (run.started_at or run.completed_at or now) - began)


def ran(run: TimedRun, now: datetime) -> timedelta | None:
    """Give the time from its first attempt's start until it ended, or until now; None before."""
    if run.started_at is None:
        return None
    return (run.completed_at or now) - run.started_at


def headline(run: TimedRun, now: datetime) -> str:
    """Give the first line of a run's page: how it stands, and for how long.

    Rule: a run that ended says how and after what; one that waits says for what.
    """
    status = RunStatus(run.status)
    if run.execution_status == ExecutionStatus.PENDING_CANCEL:
        return "Run is being canceled; its workload has not stopped yet"
    place = f" in {run.region}" if run.region else ""
    length = ran(run, now)
    spent = duration_text(waited(run, now) if length is None else length)
    if status in FINAL:
        return f"Run {_ending(run, status, spent, place)}"
    return _standing(run, status, spent, place, now)


def _ending(run: TimedRun, status: RunStatus, spent: str, place: str) -> str:
    number = run.attempt_number
    tries = f"{count_text(number, 'attempt')} and " if number > 1 else ""
    match status:
        case RunStatus.COMPLETED_SUCCESSFULLY:
            return f"completed{f' on attempt {number}' if number > 1 else ''} in {spent}{place}"
        case RunStatus.CANCELED if run.started_at is None:
            return "was canceled before it started"
        case RunStatus.EXPIRED:
            limit = f"; its time to live was {run.ttl}" if run.ttl else ""
            return f"expired before it started{limit}"
        case RunStatus.TIMED_OUT:
            limit = f"; it may run for {run.max_duration_s} s" if run.max_duration_s else ""
            return f"timed out after {spent}{place}{limit}"
        case _:
            return f"{_VERBS[status]} after {tries}{spent}{place}"


def _standing(run: TimedRun, status: RunStatus, spent: str, place: str, now: datetime) -> str:
    number = run.attempt_number
    left = (run.delay_until or now) - now
    sentences = {
        RunStatus.PENDING: f"Run is queued for attempt {number + 1}{place}"
        if number
        else f"Run has been queued for {spent}{place}",
        RunStatus.DELAYED: f"Run starts in {duration_text(left)}{place}",
        RunStatus.PENDING_VERSION: f"Run waits until a version that has the task {run.task_slug}"
        " is deployed",
        RunStatus.DEQUEUED: f"Run is starting attempt {number + 1}{place}",
        RunStatus.EXECUTING: f"Run has been executing for {spent}{place}"
        + (f", now on attempt {number}" if number > 1 else ""),
        RunStatus.RETRYING_AFTER_FAILURE: f"Attempt {number} failed; the next one starts soon",
        RunStatus.WAITING_TO_RESUME: f"Run waits to go on with attempt {number}{place}",
    }
    return sentences[status]


_VERBS: Final = {
    RunStatus.COMPLETED_WITH_ERRORS: "failed",
    RunStatus.CRASHED: "crashed",
    RunStatus.SYSTEM_FAILURE: "was ended by a failure of the platform",
    RunStatus.CANCELED: "was canceled",
}
