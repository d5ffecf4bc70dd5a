"""The regions a project may choose among, as its members read them, and as staff do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployments.region_snapshot import REGIONS, load_region_snapshot
from deployments.regions import (
    MICROVM,
    GroupRow,
    ResolveRequest,
    available_regions,
    is_usable,
    region_name_for_group,
    region_name_for_member,
)
from deployments.routing import region_request_for
from deployments.selectors import WorkerGroupView, list_worker_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.environment_entry import EnvironmentEntry
    from tenants.selectors import ProjectView


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionChoice:
    """A region as a page lists it."""

    name: str  # what is written where a region is asked for
    description: str  # where it is, "" when nobody said
    is_microvm: bool  # it pins its runs to MicroVM compute
    is_default: bool  # where runs go that name no region
    is_offered: bool  # members may choose it; false only for the default, and for staff
    queues: tuple[str, ...]  # the worker queues behind it: for staff, () for members


def list_region_choices(project: ProjectView, *, is_staff: bool) -> Sequence[RegionChoice]:
    """Give the regions of a project: the default first, the others by name. For staff, all.

    Nothing in the answer for members names a worker queue, unless that is what a region without a
    label is called by.
    """
    return region_choices(list_worker_groups(), region_request_for(project), is_staff=is_staff)


def list_available_regions(project: ProjectView) -> Sequence[str]:
    """Give the names this project may write as a region, sorted, as they hold now."""
    return available_regions(load_region_snapshot(), region_request_for(project))


def geographies_of(entry: EnvironmentEntry) -> frozenset[str]:
    """Give the regions that runs of an environment can be in, from memory once it is warm.

    Geography only: it is what runs are filtered by, whatever compute they run on.
    """
    snapshot = REGIONS.current() or load_region_snapshot()
    request = ResolveRequest(
        environment_id="",
        is_development=False,
        region=None,
        project_id=entry.project_id,
        default_group_id=entry.default_group_id,
        allowed_queues=frozenset(entry.allowed_queues),
        has_compute_access=False,
        global_default_id=None,
    )
    usable = (row for row in snapshot.rows if is_usable(row, request))
    return frozenset(snapshot.region_of(row.master_queue) for row in usable)


def region_choices(
    groups: Sequence[WorkerGroupView], request: ResolveRequest, *, is_staff: bool
) -> Sequence[RegionChoice]:
    """Choose among `groups`, which come by priority, then name."""
    known = {group.row.id for group in groups}
    default_id = request.default_group_id if request.default_group_id in known else None
    default_id = default_id or request.global_default_id
    found: dict[str, RegionChoice] = {}
    for group in groups:
        row, is_default = group.row, group.row.id == default_id
        if not (is_staff or is_default or is_usable(row, request)):
            continue
        choice = _choice(group, request, is_default=is_default, is_staff=is_staff)
        name = choice.name
        found[name] = _joined(found[name], choice) if name in found else choice
    return sorted(found.values(), key=lambda choice: (not choice.is_default, choice.name))


def _choice(
    group: WorkerGroupView, request: ResolveRequest, *, is_default: bool, is_staff: bool
) -> RegionChoice:
    row = group.row
    is_shown = is_staff or is_usable(row, request)
    return RegionChoice(
        name=region_name_for_group(row) if is_staff else _name_for_member(row, request),
        description=group.description or group.location or "",
        is_microvm=row.workload_type == MICROVM and is_shown,
        is_default=is_default,
        is_offered=is_usable(row, request),
        queues=(row.master_queue,) if is_staff else (),
    )


def _name_for_member(row: GroupRow, request: ResolveRequest) -> str:
    return region_name_for_member(row, request) or "chosen by your operator"


def _joined(first: RegionChoice, other: RegionChoice) -> RegionChoice:
    """Give the one region that two groups of one name are."""
    return replace(
        first,
        description=first.description or other.description,
        is_default=first.is_default or other.is_default,
        is_offered=first.is_offered or other.is_offered,
        queues=(*first.queues, *other.queues),
    )
