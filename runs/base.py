"""What a placement is decided from, gathered from memory: the base group and the snapshots."""

from __future__ import annotations

import time
from typing import NamedTuple

from deployments.environment_entry import EnvironmentEntry
from deployments.region_snapshot import LIVENESS, REGIONS, Liveness, resolve_for_trigger
from deployments.regions import Refused as RegionRefused
from deployments.regions import RegionSnapshot, Resolved, ResolveRequest
from flags.catalog import COMPUTE_ACCESS, DEFAULT_GROUP, REQUIRE_READY
from flags.snapshot import current_flags, load_flag_snapshot
from flags.values import FlagSnapshot
from ledger.feed import feed
from runs.placement import (
    COLD_REGIONS,
    Placement,
    PlacementInput,
    PlacementRegions,
    decide_placement,
    new_tuple,
    routes_of,
)
from tenants.credentials import Caller
from tenants.errors import Refused

DEVELOPMENT = "DEVELOPMENT"
NOWHERE: frozenset[str] = frozenset()


class Base(NamedTuple):
    """The resolved base of a run, ready for the decision."""

    placement_input: PlacementInput
    revision: int | None  # up to which every change was in effect; None while cold
    requires_ready: bool = False  # runs are swapped only with a template for their machine


def base_for(caller: Caller, entry: EnvironmentEntry, region: str | None) -> Base:
    """Give the input of the placement, or raise `Refused` naming the region.

    While the flags are cold, the default group costs one query; the decision still sees them cold.
    """
    now_s = time.monotonic()
    flags = current_flags(now_s)
    regions = current_regions()
    resolved = _resolve(caller, entry, region, flags)
    # As `PlacementInput(...)`, whose generated constructor takes half as long as the decision.
    given = new_tuple(PlacementInput, (caller.organization, resolved, flags, regions, now_s, None))
    if flags is None or regions.revision is None:
        return Base(given, None)
    served = feed.served_revision  # None in a process that does not follow the ledger
    revision = min(regions.revision, flags.revision) if served is None else served
    return Base(given, revision, flags.values.get(REQUIRE_READY) is True)


def place_on(
    base: Base, entry: EnvironmentEntry, *, version: str | None, machine: str
) -> Placement:
    """Decide where a run of this version goes; None: a version that nobody knows yet.

    Only the current version's readiness is in memory; any other counts as not ready.
    """
    given = base.placement_input
    if base.requires_ready:
        is_current = version is not None and version == entry.version
        ready = entry.ready.get(machine, NOWHERE) if is_current else NOWHERE
        given = given._replace(ready=ready)
    return decide_placement(given)


def _resolve(
    caller: Caller, entry: EnvironmentEntry, region: str | None, flags: FlagSnapshot | None
) -> Resolved:
    environment = caller.environment
    if environment.type == DEVELOPMENT:
        return Resolved(environment.id, None, is_pinned=False)
    known = flags or load_flag_snapshot()
    overrides = caller.organization.overrides
    resolved = resolve_for_trigger(
        ResolveRequest(
            environment_id=environment.id,
            is_development=False,
            region=region,
            project_id=caller.project.id,
            default_group_id=entry.default_group_id,
            allowed_queues=frozenset(entry.allowed_queues),
            has_compute_access=known.value(COMPUTE_ACCESS, overrides) is True,
            global_default_id=known.value(DEFAULT_GROUP, overrides),
        )
    )
    if isinstance(resolved, RegionRefused):
        raise Refused(resolved.message)
    return resolved


class _Held(NamedTuple):
    """The regions that were put together last, and from what."""

    snapshot: RegionSnapshot | None
    liveness: Liveness | None
    regions: PlacementRegions


_held = _Held(None, None, COLD_REGIONS)


def current_regions() -> PlacementRegions:
    """Give the regions as decisions read them, put together anew when one of their parts is.

    Two threads may put the same together; either result is right.
    """
    global _held  # noqa: PLW0603  one reference, replaced as a whole
    snapshot, liveness, held = REGIONS.current(), LIVENESS.current(), _held
    if held.snapshot is snapshot and held.liveness is liveness:
        return held.regions
    _held = fresh = _Held(snapshot, liveness, _put_together(snapshot, liveness, held))
    return fresh.regions


def _put_together(
    snapshot: RegionSnapshot | None, liveness: Liveness | None, held: _Held
) -> PlacementRegions:
    if snapshot is None:
        return COLD_REGIONS
    return PlacementRegions(
        routes=held.regions.routes if held.snapshot is snapshot else routes_of(snapshot),
        deadlines_s={} if liveness is None else liveness.deadlines_s,
        revision=snapshot.revision,
    )
