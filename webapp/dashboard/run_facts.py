"""What is known of a run, as name and value, for its owner and for staff."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runs.states import FINAL, RunStatus
from webapp.api.run_answers import error_value, packet_value
from webapp.dashboard.run_times import ran, waited
from webapp.dashboard.words import Moment, count_text, duration_text, moment

if TYPE_CHECKING:
    from runs.selectors import RunView

MAX_SHOWN: Final = 100_000  # characters of a packet; the API gives the whole
MAX_INDENTED: Final = 500_000  # characters that are parsed to be shown with indentation


class Fact(NamedTuple):
    """One line of an overview; exactly one of the last four is set."""

    name: str
    text: str = ""
    code: str = ""  # shown in the mono face
    at: Moment | None = None
    run_id: str = ""  # of the same environment: linked


class Packet(NamedTuple):
    """A payload, an output or metadata, ready to be read."""

    text: str
    is_cut: bool


def overview(run: RunView, now: datetime) -> list[Fact]:
    """Give what the run's owner reads. No queue of a worker group is among it."""
    length = ran(run, now)
    facts = [
        Fact("Run", code=run.id),
        Fact("Task", code=run.task_slug),
        Fact("Region", text=run.region or ""),
        Fact("Version", code=run.version or ""),
        Fact("Locked to version", code=run.locked_version or ""),
        _at("Created", run.created_at, now),
        _at("Delayed until", run.delay_until, now),
        _at("Started", run.started_at, now),
        _at("Ended", run.completed_at, now),
        Fact("Waited", text=duration_text(waited(run, now))),
        Fact("Ran", text="" if length is None else duration_text(length)),
        Fact("Attempts", text=_attempts(run)),
        Fact("Machine", text=run.machine or ""),
        Fact("Time to live", text=run.ttl or ""),
        Fact("Max duration", text=f"{run.max_duration_s} s" if run.max_duration_s else ""),
        Fact("Priority", text=f"{run.priority_ms / 1000:g} s" if run.priority_ms else ""),
        Fact("Concurrency key", code=run.concurrency_key),
        Fact("Idempotency key", code=run.idempotency_key_shown or ""),
        Fact("Triggered by", text=run.trigger_source),
        Fact("Replay of", run_id=run.replay_of_id or ""),
    ]
    return [fact for fact in facts if any(fact[1:])]


def placement(run: RunView) -> list[Fact]:
    """Give what only staff read: where the run is, and why."""
    revision = run.decided_revision
    facts = [
        Fact("Worker queue", code=run.worker_queue),
        Fact("Why", code=run.why),
        Fact("Enrollment", code=run.enrollment),
        Fact("Requested region", code=run.requested_region or ""),
        Fact("Decided at revision", text="" if revision is None else str(revision)),
        Fact("Plan at trigger", text=run.plan or "unknown"),
        Fact("Queue", code=run.queue_name),
        Fact("Execution status", code=run.execution_status),
        Fact("Handed out", text=count_text(run.dispatch_number, "time")),
        Fact("Lost leases", text=str(run.deliveries) if run.deliveries else ""),
        Fact("Organization", code=run.organization_id),
        Fact("Environment", code=run.environment_id),
    ]
    return [fact for fact in facts if any(fact[1:])]


def shown_error(run: RunView) -> dict[str, Any] | None:
    """Give the error of a run that ended with one: message, and name and traceback if any."""
    if run.error is None or run.status not in FINAL:
        return None
    return error_value(run.error)


def shown_output(run: RunView, *, is_raw: bool = False) -> Packet | None:
    """Give what the run returned; None when it did not, or returned nothing."""
    if run.status != RunStatus.COMPLETED_SUCCESSFULLY or run.output is None:
        return None
    return packet(run.output, run.output_type or "application/json", is_raw=is_raw)


def packet(text: str, packet_type: str, *, is_raw: bool = False) -> Packet:
    """Give a packet with its JSON indented, cut where it would burden the page."""
    shown = text
    if len(text) <= MAX_INDENTED and not is_raw:
        value = packet_value(text, packet_type)
        shown = value if isinstance(value, str) and value == text else _indented(value)
    return Packet(shown[:MAX_SHOWN], len(shown) > MAX_SHOWN)


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _attempts(run: RunView) -> str:
    if not run.attempt_number:
        return ""
    most = f" of at most {run.max_attempts}" if run.max_attempts else ""
    lost = f", {run.lost_attempts} lost" if run.lost_attempts else ""
    return f"{run.attempt_number}{most}{lost}"


def _at(name: str, at: datetime | None, now: datetime) -> Fact:
    return Fact(name, at=None if at is None else moment(at, now))
