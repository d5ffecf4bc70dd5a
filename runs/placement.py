"""Where a run goes: one pure decision that says why.

The shell (`runs/base.py`) resolves the base group from what the caller asked for and hands in
references it already holds; this module decides and never raises. What does not depend on the
organization is worked out once per region snapshot (`Routes`), so that a decision only looks up.

Source: `docs/regions.md`; the closed lists of `Enrollment` and `Why` are part of the staff API.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.regions import CONTAINER, MANAGED
from flags.enrollment import ENROLLED, Dialled, Enrollable, Enrollment, enroll

if TYPE_CHECKING:
    from deployments.regions import GroupRow, RegionSnapshot, Resolved


class Why(StrEnum):
    """Why a run is on its worker queue; the first that holds."""

    DEVELOPMENT = "development"  # its environment's own queue, no region
    WORKER_DEPLOYMENT = "worker_deployment"  # a version whose workers poll for themselves
    PINNED = "pinned"  # the customer chose a MicroVM group
    BASE_NOT_ELIGIBLE = "base_not_eligible"  # the base group is not a managed container group
    NO_LABEL = "no_label"  # the base group has no region label, or the regions are cold
    NOT_ENROLLED = "not_enrolled"  # see the enrollment
    NO_BACKING = "no_backing"  # the region has no eligible MicroVM group
    BACKING_DOWN = "backing_down"  # the backing is not live
    TEMPLATE_NOT_READY = "template_not_ready"  # the version has no ready template
    MIGRATED = "migrated"  # swapped to the backing
    MOVED = "moved"  # staff moved the waiting run; never decided


class Placement(NamedTuple):
    """Where a run goes, and why."""

    worker_queue: str
    region: str | None  # geography as customers see it; None in development
    enrollment: Enrollment
    why: Why


Outcome = Mapping[Enrollment, Placement]
"""One placement for each enrollment, made beforehand."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the runs of one base group can come to."""

    pinned: Outcome
    staying: Outcome  # on the base group, for whatever reason
    enrolled: Outcome  # swapped to the backing; none: there is none, or the base is not eligible
    unready: Outcome  # on the base group, because the version is not ready for the backing
    backing_id: str  # "": there is none


@dataclass(frozen=True, slots=True)
class PlacementRegions:
    """The region snapshot as decisions read it, and which groups are live."""

    routes: Mapping[str, Route]  # by the base group's worker queue; empty while cold
    deadlines_s: Mapping[str, float]  # group id -> until when it counts as live, monotonic
    revision: int | None  # None while cold


class PlacementInput(NamedTuple):
    """Everything a placement depends on, as references the caller already holds."""

    organization: Enrollable
    base: Resolved
    flags: Dialled | None  # the flag snapshot; None while it is cold
    regions: PlacementRegions
    now_s: float  # on the clock of the deadlines
    ready: Collection[str] | None = None  # regions the run's code is ready in; None: no matter


new_tuple: Final = tuple.__new__  # found once: to look it up takes a fifth of making an input


def decide_placement(given: PlacementInput) -> Placement:
    """Give the worker queue and the region of a run, the enrollment and the reason.

    **Rule** development; a pinned MicroVM group; a base that is no managed container group; a base
    without label, or unknown to the snapshot; an organization that is not enrolled; a region
    without backing; a backing that is not live; code that is not ready there, if it has to be; else
    the backing. The region is the base group's label, its queue's name while it has none.
    """
    organization, base, flags, regions, now_s, ready = given
    enrollment = enroll(organization, flags)
    route = regions.routes.get(base.queue)
    if route is None:
        return _placed_outside(base, enrollment)
    if base.is_pinned:
        return route.pinned[enrollment]
    migrated = route.enrolled.get(enrollment)
    if migrated is None or now_s >= regions.deadlines_s.get(route.backing_id, now_s):
        return route.staying[enrollment]
    if ready is not None and migrated.region not in ready:
        return route.unready[enrollment]
    return migrated


def routes_of(snapshot: RegionSnapshot) -> Mapping[str, Route]:
    """Give what each base group of a snapshot comes to; once per snapshot."""
    return {
        row.master_queue: _route(row, snapshot.backing_of(row.master_queue))
        for row in snapshot.rows
    }


def _route(row: GroupRow, backing: GroupRow | None) -> Route:
    queue, region = row.master_queue, row.region or row.master_queue
    unbacked = Why.NO_BACKING if backing is None else Why.BACKING_DOWN
    fixed = _fixed_reason(row)
    return Route(
        pinned=_outcome(queue, region, dict.fromkeys(Enrollment, Why.PINNED)),
        staying=_outcome(
            queue,
            region,
            {
                enrollment: fixed or (unbacked if enrollment.is_enrolled else Why.NOT_ENROLLED)
                for enrollment in Enrollment
            },
        ),
        enrolled=(
            {}
            if backing is None
            else _outcome(backing.master_queue, region, dict.fromkeys(ENROLLED, Why.MIGRATED))
        ),
        unready=_outcome(queue, region, dict.fromkeys(ENROLLED, Why.TEMPLATE_NOT_READY)),
        backing_id="" if backing is None else backing.id,
    )


def _outcome(queue: str, region: str, whys: Mapping[Enrollment, Why]) -> Outcome:
    return {
        enrollment: Placement(queue, region, enrollment, why) for enrollment, why in whys.items()
    }


def _fixed_reason(row: GroupRow) -> Why | None:
    """Give why the runs of a base group stay, whoever the organization is; None: it depends."""
    if row.type != MANAGED or row.workload_type != CONTAINER:
        return Why.BASE_NOT_ELIGIBLE
    return None if row.region else Why.NO_LABEL


def _placed_outside(base: Resolved, enrollment: Enrollment) -> Placement:
    """Place a run whose base the snapshot does not have: development, or it is cold or behind."""
    group = base.group
    if group is None:
        return Placement(base.queue, None, enrollment, Why.DEVELOPMENT)
    why = Why.PINNED if base.is_pinned else _fixed_reason(group) or Why.NO_LABEL
    return Placement(base.queue, group.region or base.queue, enrollment, why)


COLD_REGIONS: Final = PlacementRegions(MappingProxyType({}), MappingProxyType({}), None)
"""What decisions read before the first load: nobody is swapped."""
