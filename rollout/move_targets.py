"""Which worker queue a waiting run may be moved to. Pure.

Towards containers a run goes where a trigger that asked for the same would start from now, as far
as that is a container group of the region; else to the region's container group that its project
may use. Towards MicroVMs it goes to the backing of the group it waits on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.regions import CONTAINER, MANAGED, MICROVM, Refused, resolve_base

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.regions import GroupRow, RegionSnapshot, ResolveRequest

OTHER: Final[Mapping[str, str]] = {CONTAINER: MICROVM, MICROVM: CONTAINER}
"""The workload type that runs are moved away from, by the one they are moved to."""


class Obstacle(NamedTuple):
    """Why nothing can be moved there."""

    message: str
    is_passing: bool  # it may be otherwise in a moment


def sources_for(snapshot: RegionSnapshot, region: str, to: str) -> tuple[GroupRow, ...]:
    """Give the shared groups of a region that runs are moved away from, hidden ones included.

    Towards MicroVMs only those with a backing, which all groups of a region share.
    """
    return tuple(
        row
        for row in snapshot.rows
        if row.type == MANAGED
        and row.region == region
        and row.workload_type == OTHER[to]
        and (to == CONTAINER or snapshot.backing_of(row.master_queue) is not None)
    )


def find_obstacle(
    snapshot: RegionSnapshot, region: str, to: str, *, live_ids: frozenset[str]
) -> Obstacle | None:
    """Find what stands in the way of every move: no such region, no group, no live backing."""
    labels = sorted({row.region for row in snapshot.rows if row.region is not None})
    if region not in labels:
        known = f"Regions: {', '.join(labels)}." if labels else "No group has a region yet."
        return Obstacle(f'No worker group is labelled "{region}". {known}', is_passing=False)
    containers = snapshot.containers.get(region, ())
    if not containers:
        return Obstacle(f"{region} has no shared container group.", is_passing=False)
    if to == CONTAINER:
        return None
    backing = snapshot.backing_of(containers[0].master_queue)
    if backing is None:
        message = f"{region} has no backing: no visible shared MicroVM group has its label."
        return Obstacle(message, is_passing=False)
    if backing.id in live_ids:
        return None
    message = f"The backing {backing.master_queue} is down: no supervisor of it is live."
    return Obstacle(message, is_passing=True)


def target_for(
    snapshot: RegionSnapshot, request: ResolveRequest, *, source: str, region: str, to: str
) -> str | None:
    """Give the worker queue for runs that wait on `source`; None: they have to stay.

    `request` is what a trigger of the run's project would be resolved from now, with the region
    that the run asked for.
    """
    if to == MICROVM:
        backing = snapshot.backing_of(source)
        return None if backing is None else backing.master_queue
    containers = {row.master_queue for row in snapshot.containers.get(region, ())}
    for wanted in (request.region, region):
        found = resolve_base(snapshot, request._replace(region=wanted))
        if not isinstance(found, Refused) and found.queue in containers:
            return found.queue
    return None
