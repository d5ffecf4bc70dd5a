"""Where runs that name no region start from, for every default that a project can have."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deployments.region_snapshot import load_liveness, load_region_snapshot
from deployments.regions import Refused, ResolveRequest, resolve_base
from flags.catalog import DEFAULT_GROUP
from rollout.preview import Home, home_for
from runs.placement import PlacementRegions, routes_of

if TYPE_CHECKING:
    from flags.values import FlagSnapshot


def read_homes(flags: FlagSnapshot) -> dict[str | None, Home]:
    """Give the home of each default group by its id, None for the global default; as of now."""
    snapshot, liveness = load_region_snapshot(), load_liveness()
    regions = PlacementRegions(routes_of(snapshot), liveness.deadlines_s, snapshot.revision)
    common, now_s = flags.value(DEFAULT_GROUP, {}), time.monotonic()
    found: dict[str | None, Home] = {}
    for group_id in (None, *snapshot.by_id):
        base = resolve_base(snapshot, _request(group_id, common))
        if not isinstance(base, Refused):
            found[group_id] = home_for(base, regions, now_s=now_s)
    return found


def _request(default_group_id: str | None, global_default_id: str | None) -> ResolveRequest:
    return ResolveRequest(
        environment_id="",
        is_development=False,
        region=None,
        project_id="",
        default_group_id=default_group_id,
        allowed_queues=frozenset(),
        has_compute_access=False,
        global_default_id=global_default_id,
    )
