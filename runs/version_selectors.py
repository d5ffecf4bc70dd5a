"""Which waiting runs another current version would concern, counted while that costs little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Collection

MOST: Final = 1000  # runs that are looked at, of each kind

# A run takes the version that is current when it is first handed out, and keeps it from then on.
_QUEUED = """
WITH waiting AS (
  SELECT entry.run_id FROM runs_lane AS lane
  JOIN runs_readyentry AS entry ON entry.lane_id = lane.id
  WHERE lane.environment_id = %(environment)s LIMIT %(most)s
)
SELECT count(*), count(*) FILTER (WHERE run.worker_id IS NULL),
  count(*) FILTER (WHERE run.worker_id IS NULL AND run.task_slug <> ALL(%(tasks)s))
FROM waiting JOIN runs_taskrun AS run ON run.id = waiting.run_id
"""
_PARKED = """
SELECT count(*) FROM (
  SELECT 1 FROM runs_versionwait
  WHERE environment_id = %(environment)s AND task_slug = ANY(%(tasks)s) LIMIT %(most)s
) AS parked
"""


class Concerned(NamedTuple):
    """Runs that wait, and what a version with certain tasks means to them."""

    queued: int  # would begin on it: no version was chosen for them yet
    without_task: int  # of those: it lacks their task, so they would wait for a later version
    released: int  # wait for a version with their task, which this is
    is_complete: bool  # false: there are more than were counted


def count_concerned_runs(*, environment_id: str, tasks: Collection[str]) -> Concerned:
    """Count what a version with these tasks would mean to the runs that wait here."""
    values: dict[str, Any] = {
        "environment": environment_id,
        "tasks": sorted(tasks),
        "most": MOST + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_QUEUED, values)
        looked_at, queued, without_task = cursor.fetchone()
        cursor.execute(_PARKED, values)
        (released,) = cursor.fetchone()
    is_complete = max(looked_at, released) <= MOST
    return Concerned(queued, without_task, released, is_complete)
