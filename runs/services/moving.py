"""Move runs that wait to another worker queue, many at a time.

A piece of the runs is one transaction under the mutexes of their environments, so dequeues of them
wait for milliseconds only and nobody else does. The first piece carries the audit row: no run is
moved without one, and a move that is cut short is repeated without harm.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import connection, transaction

from ledger.services import ledger_write
from runs.lanes import lane_id_of
from runs.metrics import MOVED
from runs.services.wakeups import announce_ready

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from runs.waiting import WaitingRun
    from tenants.origin import Origin

PIECE: Final = 1_000
"""Runs that one transaction moves."""

SCOPE, KEY = "migration", "move-queued"
"""What the audit calls a move."""

_MOVE: Final = """
SELECT moved, ready FROM runs_move_waiting(%s::text[], %s::text[], %s::text[], %s::text[],
  %s::uuid[], %s)
"""


class Moving(NamedTuple):
    """A run and where it is to wait."""

    run: WaitingRun
    worker_queue: str


class MoveRecord(NamedTuple):
    """What the audit keeps of a move."""

    old: Mapping[str, Any]
    new: Mapping[str, Any]
    organization_id: str | None


def move_waiting(
    moves: Sequence[Moving], *, record: MoveRecord, **origin: Unpack[Origin]
) -> tuple[int, int]:
    """Move the runs that still wait where they were seen; give how many, and the revision.

    The others were taken, canceled or moved by somebody else meanwhile, and are left alone.
    `moves` has at least one.
    """
    # One order of environments for everybody, and few of them in a piece.
    ordered = sorted(moves, key=lambda move: move.run.environment_id)
    first, *others = (ordered[start : start + PIECE] for start in range(0, len(ordered), PIECE))
    with ledger_write(**origin) as write:
        write.record(
            scope=SCOPE, key=KEY, old=record.old, new=record.new, org=record.organization_id
        )
        moved = _move(first, write.revision)
    for piece in others:
        with transaction.atomic():
            moved += _move(piece, write.revision)
    return moved, write.revision


def _move(piece: Sequence[Moving], revision: int) -> int:
    """Move one piece; who waits for the runs is told after the commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE,
            [
                [move.run.environment_id for move in piece],
                [move.run.id for move in piece],
                [move.run.worker_queue for move in piece],
                [move.worker_queue for move in piece],
                [_lane_of(move) for move in piece],
                revision,
            ],
        )
        moved, ready = cursor.fetchone()
    transaction.on_commit(partial(_tell, ready, moved))
    return int(moved)


def _lane_of(move: Moving) -> Any:
    run = move.run
    return lane_id_of(move.worker_queue, run.environment_id, run.queue_name, run.concurrency_key)


def _tell(ready: Sequence[str], moved: int) -> None:
    MOVED.inc(moved)
    for queue in ready:
        announce_ready(queue)
