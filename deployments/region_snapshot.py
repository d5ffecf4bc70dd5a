"""All worker groups in memory, and which of them have a live supervisor.

Groups reload when they change. Liveness is no change: every replica reads the age of each group's
newest heartbeat once a second, whatever the revision says, and keeps it as a deadline on its own
monotonic clock, so that an expiry needs no further read.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from django.db import connection

from deployments.regions import (
    Refused,
    RegionSnapshot,
    Resolved,
    ResolveRequest,
    region_snapshot,
    resolve_base,
)
from deployments.selectors import list_group_rows
from ledger.connections import release_connections
from ledger.registry import ReloadingRegistry
from ledger.selectors import current_revision

if TYPE_CHECKING:
    from collections.abc import Mapping

LIVENESS_INTERVAL_MS = 1000

_NEWEST_HEARTBEATS_SQL = """
SELECT group_id, extract(epoch FROM now() - max(last_heartbeat_at))::float8
FROM deployments_workerinstance
WHERE last_heartbeat_at IS NOT NULL
GROUP BY group_id
"""


class Liveness(NamedTuple):
    """Until when each group counts as live."""

    deadlines_s: Mapping[str, float]  # group id -> this process's monotonic clock

    def is_live(self, group_id: str, *, now_s: float) -> bool:
        """Tell whether a supervisor of the group has been heard of lately."""
        return now_s < self.deadlines_s.get(group_id, now_s)


def load_region_snapshot() -> RegionSnapshot:
    """Read a fresh snapshot. The revision is read first, so that it never claims too much."""
    revision = current_revision()
    return region_snapshot(list_group_rows(), revision=revision)


def load_liveness() -> Liveness:
    """Read the age of each group's newest heartbeat; the query's own time counts against it."""
    asked_at_s = time.monotonic()
    stale_s = settings.ENV.backing_stale_ms / 1000
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_HEARTBEATS_SQL)
        ages = cursor.fetchall()
    return Liveness({group_id: asked_at_s + stale_s - age_s for group_id, age_s in ages})


def load_live_group_ids() -> frozenset[str]:
    """Read which groups have a live supervisor now; for writers, whatever the memory says."""
    liveness, now_s = load_liveness(), time.monotonic()
    return frozenset(one for one in liveness.deadlines_s if liveness.is_live(one, now_s=now_s))


REGIONS: ReloadingRegistry[RegionSnapshot] = ReloadingRegistry(
    "worker-region",
    load_region_snapshot,
    interval_ms=settings.ENV.reload_interval_ms,
    release=release_connections,
)
"""`current()` is None while cold."""

LIVENESS: ReloadingRegistry[Liveness] = ReloadingRegistry(
    "worker-liveness",
    load_liveness,
    interval_ms=LIVENESS_INTERVAL_MS,
    release=release_connections,
)
"""No group is live while it is cold."""


def is_group_live(group_id: str) -> bool:
    """Tell whether the group has a live supervisor, from memory."""
    liveness = LIVENESS.current()
    return liveness is not None and liveness.is_live(group_id, now_s=time.monotonic())


def resolve_for_trigger(request: ResolveRequest) -> Resolved | Refused:
    """Decide the base of a run from memory.

    While the snapshot is cold, and when it has not heard of the default yet, it costs one query
    instead of a wait.
    """
    snapshot = REGIONS.current()
    if snapshot is None or not _knows_defaults(snapshot, request):
        snapshot = region_snapshot(list_group_rows(), revision=0)
    return resolve_base(snapshot, request)


def _knows_defaults(snapshot: RegionSnapshot, request: ResolveRequest) -> bool:
    default = request.default_group_id or request.global_default_id
    return default is None or default in snapshot.by_id
