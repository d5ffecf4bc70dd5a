"""Where runs that name no region start from, for every default that a project can have."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deployments.region_snapshot import load_liveness, load_region_snapshot
from deployments.regions import Refused, ResolveRequest, resolve_base
from rollout.preview import Home, home_for
from runs.placement import PlacementRegions, routes_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_homes(default_group_id: str | None) -> dict[str | None, Home]:
    """Give the home of each default group by its id, None for the default of everyone; as of now.

    **Args** `default_group_id` is the flag's value, None when it is not set.
    """
    liveness = load_liveness()
    return _homes(default_group_id, liveness.deadlines_s)


def read_home_regions(default_group_id: str | None) -> dict[str | None, str]:
    """Give only the region of each home. A region is the same whether its backing lives or not."""
    return {group: home.region for group, home in _homes(default_group_id, {}).items()}


def _homes(
    default_group_id: str | None, deadlines_s: Mapping[str, float]
) -> dict[str | None, Home]:
    snapshot, now_s = load_region_snapshot(), time.monotonic()
    regions = PlacementRegions(routes_of(snapshot), deadlines_s, snapshot.revision)
    found: dict[str | None, Home] = {}
    for group_id in (None, *snapshot.by_id):
        base = resolve_base(snapshot, _request(group_id, default_group_id))
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
