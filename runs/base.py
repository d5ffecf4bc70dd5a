"""What a placement is decided from, gathered from memory: the base group and the snapshots."""

from __future__ import annotations

from typing import NamedTuple

from deployments.environment_entry import EnvironmentEntry
from deployments.region_snapshot import REGIONS, resolve_for_trigger
from deployments.regions import Refused as RegionRefused
from deployments.regions import ResolveRequest
from flags.snapshot import GLOBAL_FLAGS, load_flag_snapshot
from runs.placement import PlacementInput, PlacementRequest
from tenants.credentials import Caller
from tenants.errors import Refused

DEVELOPMENT = "DEVELOPMENT"


class Base(NamedTuple):
    """The resolved base of a run, ready for the decision."""

    placement_input: PlacementInput
    revision: int | None  # the ledger revision it was decided at; None while cold


def base_for(caller: Caller, entry: EnvironmentEntry, region: str | None) -> Base:
    """Give the input of the placement, or raise `Refused` naming the region.

    While the flags are cold, the default group costs one query; the decision still sees them cold.
    """
    flags = GLOBAL_FLAGS.current()
    environment = caller.environment
    if environment.type == DEVELOPMENT:
        request = PlacementRequest(environment.id, pinned=False, regions_loaded=True)
        return Base(PlacementInput(None, flags, request), None if flags is None else flags.revision)
    known = flags if flags is not None else load_flag_snapshot()
    overrides = caller.organization.overrides
    resolved = resolve_for_trigger(
        ResolveRequest(
            environment_id=environment.id,
            is_development=False,
            region=region,
            project_id=caller.project.id,
            default_group_id=entry.default_group_id,
            allowed_queues=frozenset(entry.allowed_queues),
            has_compute_access=known.value("hasComputeAccess", overrides) is True,
            global_default_id=known.value("defaultWorkerInstanceGroupId", overrides),
        )
    )
    if isinstance(resolved, RegionRefused):
        raise Refused(resolved.message)
    regions = REGIONS.current()
    request = PlacementRequest(None, resolved.is_pinned, regions_loaded=regions is not None)
    seen = None if regions is None or flags is None else min(regions.revision, flags.revision)
    return Base(PlacementInput(resolved.group, flags, request), seen)
