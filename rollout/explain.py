"""Why a run would go where it goes: the decision of a trigger, with everything it is made from.

Nothing is decided here. The base and the placement come from the functions that a trigger calls,
from the same snapshots in this process' memory; this only names what went into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from deployments.environment_entry import entry_for
from deployments.region_snapshot import REGIONS
from flags.callers import get_caller_without_key
from flags.catalog import MIGRATION_ENABLED
from flags.enrollment import DIALS
from flags.snapshot import GLOBAL_FLAGS, current_flags
from flags.values import FlagSnapshot
from runs.base import base_for, place_on
from runs.machines import DEFAULT_MACHINE
from tenants.errors import NotFound
from tenants.selectors import get_organization

if TYPE_CHECKING:
    from runs.placement import Placement, PlacementInput
    from tenants.credentials import Caller


class Backing(NamedTuple):
    """The MicroVM group that the base group's runs may be swapped to."""

    queue: str
    is_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and all that it depends on; None is what is not set, or not known while cold."""

    caller: Caller
    requested_region: str | None
    override: bool | None  # the organization's own switch
    is_globally_enabled: bool | None
    percentage: int | None  # the dial of its plan, 0 when it is not set; None: it has no dial
    base_queue: str | None  # None in development
    placement: Placement
    backing: Backing | None
    revision: int | None  # the ledger revision of the snapshots it was decided from
    snapshot_age_s: float | None  # of the older of them


def explain(organization_id: str, *, environment_slug: str, region: str | None) -> Explanation:
    """Decide as a trigger that names `region`, or none, would at this moment, and say from what.

    The run is one of the current version, on the machine of a task that names none.

    Raise `NotFound` for an unknown organization or environment, and `Refused` as a trigger does.
    """
    caller = get_caller_without_key(_environment_id(organization_id, environment_slug))
    entry = entry_for(caller.environment.id)
    base = base_for(caller, entry, region)
    given = base.placement_input
    flags = current_flags(given.now_s)
    override = caller.organization.overrides.get(MIGRATION_ENABLED)
    return Explanation(
        caller=caller,
        requested_region=region,
        override=override,
        is_globally_enabled=None if flags is None else flags.dials is not None,
        percentage=_percentage(caller.organization.plan, flags),
        base_queue=None if given.base.group is None else given.base.queue,
        placement=place_on(base, entry, version=entry.version, machine=DEFAULT_MACHINE),
        backing=_backing(given),
        revision=base.revision,
        snapshot_age_s=_age_s(),
    )


def _environment_id(organization_id: str, slug: str) -> str:
    """Find the environment; of several projects' the oldest one's."""
    for environment in get_organization(organization_id).environments:
        if environment.slug == slug:
            return environment.id
    raise NotFound("Environment not found")


def _percentage(plan: str | None, flags: FlagSnapshot | None) -> int | None:
    dial = DIALS.get(plan or "")
    return None if dial is None or flags is None else flags.values.get(dial, 0)


def _backing(given: PlacementInput) -> Backing | None:
    route = given.regions.routes.get(given.base.queue)
    if route is None or not route.backing_id:
        return None
    (queue,) = {placement.worker_queue for placement in route.enrolled.values()}
    until_s = given.regions.deadlines_s.get(route.backing_id, given.now_s)
    return Backing(queue, is_live=given.now_s < until_s)


def _age_s() -> float | None:
    ages_s = [one.age_s for one in (GLOBAL_FLAGS, REGIONS)]
    known_s = [age_s for age_s in ages_s if age_s is not None]
    return max(known_s, default=None)
