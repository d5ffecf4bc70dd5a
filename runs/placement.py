"""Where a run goes: one pure decision that says why.

The shell (`runs/services/trigger.py`) resolves the base group from what the caller asked for and
hands in references it already holds; this module decides and never raises.

Source: `docs/regions.md`; the closed lists of `Enrollment` and `Why` are part of the staff API.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol


class Enrollment(StrEnum):
    """Whether the organization takes part in the migration; the first that holds."""

    OVERRIDE_OFF = "override_off"  # its override is exactly false
    OVERRIDE_ON = "override_on"  # its override is exactly true
    COLD = "cold"  # no flag snapshot yet
    GLOBAL_OFF = "global_off"  # computeMigrationEnabled is not true
    PLAN_NOT_ENROLLABLE = "plan_not_enrollable"  # plan enterprise or unknown
    OUT_OF_PERCENTAGE = "out_of_percentage"  # its bucket is not below its plan's dial
    IN_PERCENTAGE = "in_percentage"  # its bucket is below its plan's dial


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


class BaseGroup(Protocol):
    """What the decision reads of a worker group."""

    @property
    def type(self) -> str:
        """MANAGED or UNMANAGED."""

    @property
    def workload_type(self) -> str:
        """CONTAINER or MICROVM."""

    @property
    def master_queue(self) -> str:
        """Its worker queue."""

    @property
    def region(self) -> str | None:
        """Its geography, None while nobody labelled it."""


class PlacementRequest(NamedTuple):
    """What the trigger itself says."""

    development_queue: str | None  # the environment's own queue, in development only
    pinned: bool  # the caller, or the project's default, named a MicroVM group
    regions_loaded: bool  # False while the region snapshot is cold


class PlacementInput(NamedTuple):
    """Everything a placement depends on, as references the caller already holds."""

    base: BaseGroup | None  # None only in development
    flags: object | None  # the flag snapshot; None while it is cold
    request: PlacementRequest


class Placement(NamedTuple):
    """Where a run goes, and why."""

    worker_queue: str
    region: str | None  # geography as customers see it; None in development
    enrollment: Enrollment
    why: Why


def decide_placement(given: PlacementInput) -> Placement:
    """Give the worker queue and the region of a run, the enrollment and the reason.

    Rule: development; a pinned MicroVM group; a base that is no managed container group; a base
    without label; else the organization's enrollment. The region is the base group's label, its
    queue's name while it has none.

    >>> request = PlacementRequest(development_queue="env_1", pinned=False, regions_loaded=True)
    >>> decide_placement(PlacementInput(base=None, flags=None, request=request)).why
    <Why.DEVELOPMENT: 'development'>
    """
    enrollment = Enrollment.COLD if given.flags is None else Enrollment.GLOBAL_OFF
    base, request = given.base, given.request
    if base is None:
        return Placement(request.development_queue or "", None, enrollment, Why.DEVELOPMENT)
    region = base.region or base.master_queue
    return Placement(base.master_queue, region, enrollment, _why(base, request))


def _why(base: BaseGroup, request: PlacementRequest) -> Why:
    if request.pinned:
        return Why.PINNED
    if base.type != "MANAGED" or base.workload_type != "CONTAINER":
        return Why.BASE_NOT_ELIGIBLE
    if not base.region or not request.regions_loaded:
        return Why.NO_LABEL
    return Why.NOT_ENROLLED
