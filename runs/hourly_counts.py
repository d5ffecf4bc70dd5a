"""How many runs each organization triggers, counted after the fact.

Ids of runs begin with the time of the trigger, so that a piece of time is a piece of the primary
key: each run is counted in the one piece that its id falls into. The end of the last piece is kept
beside the counts and moves in the same transaction, so that nothing is counted twice, whoever runs
this, how often, and wherever it dies.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from django.db import connection, transaction

from ledger.ids import encode_ms
from runs.reconciler_records import Fixed

WEEK: Final = timedelta(days=7)
HOURS_OF_WEEK: Final = 168
PIECE: Final = timedelta(hours=1)
PIECES: Final = 24  # of one tick: after a long outage the next ticks go on
LAG: Final = timedelta(seconds=15)  # a run is stored by then, whatever its process' clock says
KEPT: Final = timedelta(days=8)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

_HOLD = """
INSERT INTO runs_reconcilerrecord (name, found, fixed) VALUES ('count_runs', 0, 0)
ON CONFLICT (name) DO UPDATE SET found = runs_reconcilerrecord.found RETURNING position
"""
_MOVE = "UPDATE runs_reconcilerrecord SET position = %s WHERE name = 'count_runs'"
_COUNT = """
WITH counted AS (
  SELECT organization_id, date_trunc('hour', created_at, 'UTC') AS hour, count(*) AS runs
  FROM runs_taskrun
  WHERE id >= %s AND id < %s AND environment_type <> 'DEVELOPMENT'
  GROUP BY 1, 2
), stored AS (
  INSERT INTO runs_hourlycount AS held (hour, organization_id, runs)
  SELECT hour, organization_id, runs FROM counted
  ON CONFLICT (hour, organization_id) DO UPDATE SET runs = held.runs + excluded.runs
)
SELECT coalesce(sum(runs), 0)::bigint FROM counted
"""
_FORGET = "DELETE FROM runs_hourlycount WHERE hour < %s"
_SUMS = """
SELECT organization_id, sum(runs)::bigint FROM runs_hourlycount
WHERE hour >= %s AND hour < %s GROUP BY 1
"""


class _Piece(NamedTuple):
    """What one transaction counted."""

    runs: int
    is_last: bool


def count_runs() -> Fixed:
    """Count the runs that were triggered since it was last done; give how many."""
    now = datetime.now(UTC)
    counted = 0
    for _ in range(PIECES):
        piece = _count_piece(now)
        counted += piece.runs
        if piece.is_last:
            break
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, [now - KEPT])
    return Fixed(counted)


@transaction.atomic
def _count_piece(now: datetime) -> _Piece:
    """Count one piece of time, holding the position meanwhile."""
    end = now - LAG
    with connection.cursor() as cursor:
        cursor.execute(_HOLD)
        (position,) = cursor.fetchone()
        since = now - WEEK if position is None else datetime.fromisoformat(position)
        until = min(end, since + PIECE)
        if until <= since:
            return _Piece(0, is_last=True)
        cursor.execute(_COUNT, [_first_id(since), _first_id(until)])
        (runs,) = cursor.fetchone()
        cursor.execute(_MOVE, [_whole_ms(until).isoformat()])
    return _Piece(int(runs), is_last=until >= end)


def count_by_organization(since: datetime, until: datetime) -> dict[str, int]:
    """Give how many runs each organization triggered in the hours that begin in this time."""
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, [since, until])
        return dict(cursor.fetchall())


def _first_id(at: datetime) -> str:
    """Give a text that is not after the id of any run triggered in this millisecond or later."""
    return f"run_{encode_ms((at - EPOCH) // MILLISECOND)}"


def _whole_ms(at: datetime) -> datetime:
    return EPOCH + (at - EPOCH) // MILLISECOND * MILLISECOND
