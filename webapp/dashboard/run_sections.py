"""The parts of a run's page that are read on their own: relatives, packets, snapshots."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from ledger.ids import body_of
from runs.selectors import get_family
from webapp.dashboard.run_facts import Fact, Packet, packet, placement, shown_output
from webapp.dashboard.run_rows import RunRow, run_row
from webapp.dashboard.words import clock_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.selectors import RunView, SnapshotView


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


class SnapshotRow(NamedTuple):
    """A snapshot as a table has it; the last three are for staff, "" for others."""

    id: str
    at: str
    execution_status: str
    event: str
    attempt: str
    is_refused: bool
    description: str
    by: str  # supervisor and runner
    error: str  # why the move was refused, "" when it was not


def relatives(run: RunView, now: datetime) -> Relatives:
    """Give the run's relatives as rows."""
    family = get_family(environment_id=run.environment_id, run_id=run.id)
    has_root = family.root is not None and run.root_run_id != run.parent_run_id
    return Relatives(
        run_row(family.root, now) if family.root is not None and has_root else None,
        None if family.parent is None else run_row(family.parent, now),
        [run_row(child, now) for child in family.children],
    )


def packets(run: RunView, *, is_raw: bool) -> Packets:
    """Give what went in and came out, indented or, raw, as it was sent."""
    return Packets(
        None if run.payload is None else packet(run.payload, run.payload_type, is_raw=is_raw),
        shown_output(run, is_raw=is_raw),
        None if run.metadata is None else packet(run.metadata, run.metadata_type, is_raw=is_raw),
    )


def placement_facts(run: RunView) -> list[Fact]:
    """Give where the run is, and why; for staff."""
    return placement(run)


def snapshot_rows(snapshots: Sequence[SnapshotView], *, is_staff: bool) -> list[SnapshotRow]:
    """Give every state a run had, oldest first. Who moved it is for staff."""
    return [_snapshot_row(snapshot, is_staff=is_staff) for snapshot in snapshots]


def _snapshot_row(snapshot: SnapshotView, *, is_staff: bool) -> SnapshotRow:
    run = body_of(snapshot.run_id)  # part of the runner's name, and known on its page
    by = (snapshot.worker_instance, (snapshot.runner_id or "").replace(run, "…"))
    return SnapshotRow(
        id=snapshot.id,
        at=clock_text(snapshot.created_at),
        execution_status=snapshot.execution_status,
        event=snapshot.event,
        attempt=str(snapshot.attempt_number or ""),
        is_refused=not snapshot.is_valid,
        description=snapshot.description if is_staff else "",
        by=" / ".join(name for name in by if name) if is_staff else "",
        error=snapshot.error or "" if is_staff and not snapshot.is_valid else "",
    )
