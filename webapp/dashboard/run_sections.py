"""The parts of a run's page that are read on their own: relatives, packets, logs, staff's part."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from ledger.ids import body_of
from runs.selectors import get_family, list_logs
from webapp.dashboard.run_facts import Fact, Packet, packet, placement, shown_output
from webapp.dashboard.run_rows import RunRow, run_row
from webapp.dashboard.words import clock_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.selectors import LogView, RunView, SnapshotView

LOUD = frozenset({"stderr", "error", "fatal", "critical"})


class Relatives(NamedTuple):
    """The runs that a run belongs to."""

    root: RunRow | None  # None when it is the parent, too
    parent: RunRow | None
    children: list[RunRow]  # the newest ones


class Packets(NamedTuple):
    """What goes into a run and comes out of it; None where there is nothing."""

    payload: Packet | None
    output: Packet | None
    metadata: Packet | None


class LogRow(NamedTuple):
    """One line that an attempt wrote."""

    anchor: str
    at: str
    source: str  # the stream, or the level of a log record
    is_loud: bool  # an error, or what went to stderr
    text: str


class AttemptLog(NamedTuple):
    """The lines of one attempt on this page."""

    attempt: int
    lines: list[LogRow]


class LogSection(NamedTuple):
    """A page of a run's log."""

    attempts: list[AttemptLog]
    is_continued: bool  # lines before these are on an earlier page
    next_after: str | None


class SnapshotRow(NamedTuple):
    """A snapshot as staff read it."""

    id: str
    at: str
    execution_status: str
    event: str
    description: str
    attempt: str
    by: str  # supervisor and runner
    error: str  # why the move was refused, "" when it was not


class StaffSection(NamedTuple):
    """What only staff see: where the run is, why, and every state it had."""

    placement: list[Fact]
    snapshots: list[SnapshotRow]


def relatives(run: RunView, now: datetime) -> Relatives:
    """Give the run's relatives as rows."""
    family = get_family(environment_id=run.environment_id, run_id=run.id)
    has_root = family.root is not None and run.root_run_id != run.parent_run_id
    return Relatives(
        run_row(family.root, now) if family.root is not None and has_root else None,
        None if family.parent is None else run_row(family.parent, now),
        [run_row(child, now) for child in family.children],
    )


def packets(run: RunView) -> Packets:
    """Give what went in and came out."""
    return Packets(
        None if run.payload is None else packet(run.payload, run.payload_type),
        shown_output(run),
        None if run.metadata is None else packet(run.metadata, run.metadata_type),
    )


def log_section(run_id: str, *, after: str | None) -> LogSection:
    """Give a page of what the run's attempts wrote, attempt by attempt."""
    lines, next_after = list_logs(run_id=run_id, attempt=None, after=after)
    attempts = [
        AttemptLog(attempt, [_log_row(line) for line in found])
        for attempt, found in groupby(lines, key=lambda line: line.attempt)
    ]
    return LogSection(attempts, bool(after), next_after)


def staff_section(run: RunView, snapshots: Sequence[SnapshotView]) -> StaffSection:
    """Give what staff read besides."""
    return StaffSection(placement(run), [_snapshot_row(snapshot) for snapshot in snapshots])


def _log_row(line: LogView) -> LogRow:
    source = line.level or line.stream
    return LogRow(
        anchor=f"log-{line.attempt}-{line.seq}",
        at=clock_text(line.at),
        source=source,
        is_loud=source.lower() in LOUD,
        text=line.text,
    )


def _snapshot_row(snapshot: SnapshotView) -> SnapshotRow:
    run = body_of(snapshot.run_id)  # part of the runner's name, and known on its page
    by = (snapshot.worker_instance, (snapshot.runner_id or "").replace(run, "…"))
    return SnapshotRow(
        id=snapshot.id,
        at=clock_text(snapshot.created_at),
        execution_status=snapshot.execution_status,
        event=snapshot.event,
        description=snapshot.description,
        attempt=str(snapshot.attempt_number or ""),
        by=" / ".join(name for name in by if name),
        error="" if snapshot.is_valid else snapshot.error or "refused",
    )
