"""What waits on worker queues and may be moved to another one: how much, and which runs.

A run waits in its lane, for a time (a delay, a back-off), or for a version. All three are of the
worker queue they were placed on: when the time has come they are handed out there. A run may be
moved unless its worker queue was chosen for it, or it goes on from a checkpoint (`runs_may_move`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAITING = """
FROM (
  SELECT e.run_id FROM runs_lane l JOIN runs_readyentry e ON e.lane_id = l.id
  WHERE l.worker_queue = ANY (%(queues)s)
    AND (%(environments)s::text[] IS NULL OR l.environment_id = ANY (%(environments)s))
  UNION ALL SELECT run_id FROM runs_delayedentry
  UNION ALL SELECT run_id FROM runs_versionwait
) w JOIN runs_taskrun r ON r.id = w.run_id
WHERE r.worker_queue = ANY (%(queues)s)
  AND (%(environments)s::text[] IS NULL OR r.environment_id = ANY (%(environments)s))
  AND r.organization_id <> ALL (%(spared)s)
  AND runs_may_move(r.id, r.execution_status, r.why, r.attempt_number)
"""
_COUNT = f"""
SELECT r.project_id, r.worker_queue, r.requested_region, count(*) {_WAITING}
GROUP BY r.project_id, r.worker_queue, r.requested_region
"""
_LIST = f"""
SELECT r.id, r.environment_id, r.project_id, r.worker_queue, r.requested_region, r.queue_name,
  r.concurrency_key {_WAITING} ORDER BY r.score, r.id LIMIT %(most)s
"""


class Waiting(NamedTuple):
    """Which runs are asked about."""

    worker_queues: Sequence[str]
    environment_ids: Sequence[str] | None = None  # None: of every environment
    spared_organization_ids: Sequence[str] = ()  # whose runs are left out


@dataclass(frozen=True, slots=True)
class WaitingCount:
    """How many runs of a project wait on a worker queue that asked for one region."""

    project_id: str
    worker_queue: str
    requested_region: str | None
    count: int


class WaitingRun(NamedTuple):
    """A run that waits, and what its next lane is made from."""

    id: str
    environment_id: str
    project_id: str
    worker_queue: str
    requested_region: str | None
    queue_name: str
    concurrency_key: str


def count_waiting(wanted: Waiting) -> list[WaitingCount]:
    """Count the runs that wait and may be moved."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, _values(wanted))
        return [WaitingCount(*row) for row in cursor.fetchall()]


def list_waiting(wanted: Waiting, *, limit: int) -> list[WaitingRun]:
    """Give the runs that wait and may be moved, those that are due first at the front."""
    with connection.cursor() as cursor:
        cursor.execute(_LIST, {**_values(wanted), "most": limit})
        return [WaitingRun(*row) for row in cursor.fetchall()]


def _values(wanted: Waiting) -> dict[str, Any]:
    environment_ids = wanted.environment_ids
    return {
        "queues": list(wanted.worker_queues),
        "environments": None if environment_ids is None else list(environment_ids),
        "spared": list(wanted.spared_organization_ids),
    }
