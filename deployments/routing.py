"""A project's default region: which it is, and changing it through the gates a trigger has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.region_snapshot import load_region_snapshot
from deployments.regions import (
    GroupRow,
    Refused,
    RegionSnapshot,
    ResolveRequest,
    region_name_for_member,
    resolve_region,
)
from deployments.selectors import RoutingView, get_routing
from deployments.worker_groups import DEFAULT_GROUP_FLAG, set_default_group
from flags.catalog import value_for_organization
from flags.selectors import get_global_values, get_organization_values
from tenants import errors

if TYPE_CHECKING:
    from typing import Unpack

    from tenants.origin import Origin
    from tenants.selectors import ProjectView

COMPUTE_ACCESS_FLAG = "hasComputeAccess"


def set_default_region(
    project: ProjectView, region: str, *, is_staff: bool, **origin: Unpack[Origin]
) -> GroupRow:
    """Make the group that `region` means to this project its default, and give it.

    Staff may choose hidden and MicroVM groups and those not in the project's list. Raise `Refused`
    with the one sentence for every region that cannot be used.
    """
    snapshot = load_region_snapshot()
    request = _request_of(project, get_routing(project.id))
    outcome = resolve_region(snapshot, request, region)
    if isinstance(outcome, Refused) and is_staff:
        outcome = resolve_region(snapshot, _ungated(request, snapshot), region)
    if isinstance(outcome, Refused):
        raise errors.Refused(outcome.message)
    assert outcome.group is not None  # a named region is always a group
    set_default_group(project, outcome.group.id, **origin)
    return outcome.group


def find_default_region(project: ProjectView) -> str | None:
    """Find what customers call the project's default region; None when there is none anywhere."""
    snapshot = load_region_snapshot()
    request = _request_of(project, get_routing(project.id))
    for group_id in (request.default_group_id, request.global_default_id):
        row = snapshot.by_id.get(group_id or "")
        if row is not None:
            return region_name_for_member(row, request)
    return None


def region_request_for(project: ProjectView) -> ResolveRequest:
    """Give what decides which regions a project may use, as it holds now."""
    return _request_of(project, get_routing(project.id))


def _request_of(project: ProjectView, routing: RoutingView) -> ResolveRequest:
    values = get_global_values()
    overrides = get_organization_values(project.organization_id)
    return ResolveRequest(
        environment_id="",
        is_development=False,
        region=None,
        project_id=project.id,
        default_group_id=routing.default_group_id,
        allowed_queues=frozenset(routing.allowed_queues),
        has_compute_access=value_for_organization(
            COMPUTE_ACCESS_FLAG, overrides=overrides, values=values
        ),
        global_default_id=values.get(DEFAULT_GROUP_FLAG),
    )


def _ungated(request: ResolveRequest, snapshot: RegionSnapshot) -> ResolveRequest:
    """Give the request of a project that may use every queue there is."""
    return request._replace(allowed_queues=frozenset(snapshot.by_queue))
