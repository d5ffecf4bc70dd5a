"""How many runs the queues of an environment have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection

# Lane by lane, so that it costs what these lanes hold, whatever waits beside them.
_COUNT = """
WITH running AS (
  SELECT queue_name, sum(running)::int AS runs FROM runs_queueslots
  WHERE environment_id = %(environment)s AND queue_name = ANY(%(names)s) GROUP BY queue_name
), queued AS (
  SELECT l.queue_name, sum(entries.runs)::int AS runs FROM runs_lane l
  CROSS JOIN LATERAL (SELECT count(*) AS runs FROM runs_readyentry WHERE lane_id = l.id) entries
  WHERE l.environment_id = %(environment)s AND l.queue_name = ANY(%(names)s) GROUP BY l.queue_name
)
SELECT name, coalesce(running.runs, 0), coalesce(queued.runs, 0)
FROM unnest(%(names)s::text[]) AS name
LEFT JOIN running ON running.queue_name = name
LEFT JOIN queued ON queued.queue_name = name
"""


class QueueCounts(NamedTuple):
    """The runs of one queue, of all its concurrency keys."""

    running: int  # handed to a worker and not over
    queued: int  # may be taken as soon as a slot is free; not those that wait for a time


def count_by_queue(*, environment_id: str, names: Sequence[str]) -> dict[str, QueueCounts]:
    """Count the runs of each of these queues (stored names), in one query."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"environment": environment_id, "names": list(names)})
        return {name: QueueCounts(*counts) for name, *counts in cursor.fetchall()}
