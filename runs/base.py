"""What a placement is decided from, gathered from memory: the base group and the snapshots."""

from __future__ import annotations

from typing import NamedTuple

from deployments.environment_entry import EnvironmentEntry
from deployments.region_snapshot import current_regions, load_regions
from deployments.regions import Refused as RegionRefused
from deployments.regions import ResolveRequest, resolve_base
from flags.snapshot import current_flags, effective_flag
from runs.placement import PlacementInput, PlacementRequest
from tenants.credentials import Caller
from tenants.errors import Refused

DEVELOPMENT = "DEVELOPMENT"


class Base(NamedTuple):
    """The resolved base of a run, ready for the decision."""

    placement_input: PlacementInput
    revision: int | None  # the ledger revision of the region snapshot; None in development


def base_for(caller: Caller, entry: EnvironmentEntry, region: str | None) -> Base:
    """Give the input of the placement, or raise `Refused` naming the region."""
    flags = current_flags()
    if caller.environment.type == DEVELOPMENT:
        request = PlacementRequest(caller.environment.id, pinned=False, regions_loaded=True)
        return Base(PlacementInput(None, flags, request), None)
    snapshot = current_regions()
    loaded = snapshot is not None
    regions = snapshot if snapshot is not None else load_regions()
    resolved = resolve_base(
        regions,
        ResolveRequest(
            environment_id=caller.environment.id,
            is_development=False,
            region=region,
            project_id=caller.project.id,
            default_group_id=entry.default_group_id,
            allowed_queues=entry.allowed_queues,
            has_compute_access=effective_flag(caller, "hasComputeAccess") is True,
            global_default_id=effective_flag(caller, "defaultWorkerInstanceGroupId"),
        ),
    )
    if isinstance(resolved, RegionRefused):
        raise Refused(resolved.message)
    request = PlacementRequest(None, pinned=resolved.is_pinned, regions_loaded=loaded)
    return Base(PlacementInput(resolved.group, flags, request), regions.revision)
