"""Whether what waits on worker queues is being started: how much, for how long, what was refused.

A heartbeat says that a supervisor lives, not that it starts anything: the gateway behind it may be
away, full or broken. Then runs are leased and handed back, again and again, and nothing else tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection

from runs.states import Event, ExecutionStatus

MOST_COUNTED = 10_000  # runs of a worker queue; more are not counted
MOST_LANES = 200  # of a worker queue whose heads are looked at, those served longest ago first
MOST_DELAYED = 5_000  # entries that are due soon; a hand-back waits for a minute at most

# A run that was handed back waits for its back-off, stands at the head of its lane, or is leased
# once more and has not begun: its newest snapshot, or the one before the lease, says so.
_STANDINGS = """
WITH wanted AS (SELECT unnest(%(queues)s::text[]) AS worker_queue),
open_lanes AS (
  SELECT w.worker_queue, l.id, l.turn FROM wanted w
  JOIN runs_lane l ON l.worker_queue = w.worker_queue AND NOT l.blocked
  JOIN runs_environmentturn t ON t.worker_queue = l.worker_queue
    AND t.environment_id = l.environment_id AND NOT t.blocked
), heads AS (
  SELECT head.run_id FROM wanted w
  CROSS JOIN LATERAL (
    SELECT id FROM open_lanes o WHERE o.worker_queue = w.worker_queue ORDER BY turn LIMIT %(lanes)s
  ) lane
  CROSS JOIN LATERAL (
    SELECT run_id FROM runs_readyentry WHERE lane_id = lane.id ORDER BY score, run_id LIMIT 1
  ) head
), seen AS (
  SELECT run_id, 'ready' AS place FROM heads
  UNION ALL SELECT run_id, 'leased' FROM runs_lease
  UNION ALL (SELECT run_id, 'delayed' FROM runs_delayedentry
    WHERE due_at < statement_timestamp() + interval '1 minute' ORDER BY due_at LIMIT %(delayed)s)
), known AS (
  SELECT r.worker_queue, seen.place, said.event = %(requeue)s AS was_back, said.description,
    said.created_at AS said_at,
    extract(epoch FROM statement_timestamp() - greatest(said.created_at, r.delay_until)) AS ready_s,
    extract(epoch FROM statement_timestamp()) - (r.score + r.priority_ms) / 1000.0 AS queued_s
  FROM seen
  JOIN runs_taskrun r ON r.id = seen.run_id
  JOIN runs_runsnapshot newest ON newest.run_id = r.id AND newest.id = r.snapshot_id
  LEFT JOIN runs_runsnapshot said ON said.run_id = r.id AND said.id =
    CASE WHEN r.execution_status = %(leased)s THEN newest.previous_id ELSE newest.id END
  WHERE r.worker_queue = ANY (%(queues)s)
)
SELECT w.worker_queue, counted.runs,
  greatest(max(k.ready_s) FILTER (WHERE k.place = 'ready'), 0)::float8,
  count(*) FILTER (WHERE k.place = 'leased')::int,
  count(*) FILTER (WHERE k.was_back)::int,
  greatest(max(k.queued_s) FILTER (WHERE k.was_back), 0)::float8,
  coalesce((array_agg(k.description ORDER BY k.said_at DESC) FILTER (WHERE k.was_back))[1], '')
FROM wanted w
CROSS JOIN LATERAL (
  SELECT count(*)::int AS runs FROM (
    SELECT 1 FROM open_lanes o JOIN runs_readyentry e ON e.lane_id = o.id
    WHERE o.worker_queue = w.worker_queue LIMIT %(counted)s
  ) AS some_runs
) counted
LEFT JOIN known k ON k.worker_queue = w.worker_queue
GROUP BY w.worker_queue, counted.runs ORDER BY w.worker_queue
"""


class QueueStanding(NamedTuple):
    """What waits on a worker queue, and what came of its last leases."""

    worker_queue: str
    ready: int  # runs that may be taken now, at most `MOST_COUNTED`; none that a limit holds back
    ready_s: float  # for how long the oldest of them may be, 0 without one
    leased: int  # runs in the hands of its supervisors
    handed_back: int  # runs that were leased, could not be started, and have not begun since
    handed_back_s: float  # since the oldest of them was queued, 0 without one
    last_reason: str  # why the last of them could not be started


def list_queue_standings(worker_queues: Sequence[str]) -> list[QueueStanding]:
    """Give these worker queues by name. One query, whose cost does not grow with a backlog."""
    values: dict[str, int | str | list[str]] = {
        "queues": sorted(set(worker_queues)),
        "counted": MOST_COUNTED,
        "lanes": MOST_LANES,
        "delayed": MOST_DELAYED,
        "requeue": Event.REQUEUE.value,
        "leased": ExecutionStatus.PENDING_EXECUTING.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_STANDINGS, values)
        return [QueueStanding(*row) for row in cursor.fetchall()]
