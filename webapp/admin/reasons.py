"""The closed lists of why a run is where it is, as sentences for operators. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from flags.enrollment import Enrollment
from runs.placement import Why

if TYPE_CHECKING:
    from collections.abc import Mapping

ENROLLMENT_SENTENCES: Final[Mapping[Enrollment, str]] = MappingProxyType(
    {
        Enrollment.OVERRIDE_OFF: "Its own override keeps it out, whatever the dials say.",
        Enrollment.OVERRIDE_ON: "Its own override takes it in, whatever the dials say.",
        Enrollment.COLD: "This process has not loaded the flags yet, so it enrolls nobody.",
        Enrollment.GLOBAL_OFF: "The migration is off for everyone.",
        Enrollment.PLAN_NOT_ENROLLABLE: "Its plan has no dial; only an override takes it in.",
        Enrollment.OUT_OF_PERCENTAGE: "Its bucket is not below its plan's dial.",
        Enrollment.IN_PERCENTAGE: "Its bucket is below its plan's dial.",
    }
)
WHY_SENTENCES: Final[Mapping[Why, str]] = MappingProxyType(
    {
        Why.DEVELOPMENT: "Development runs on its author's machine: its own queue, no region.",
        Why.WORKER_DEPLOYMENT: "Its version's workers poll for themselves.",
        Why.PINNED: "The customer chose a MicroVM group by name.",
        Why.BASE_NOT_ELIGIBLE: "The base is no shared container group, so it is never swapped.",
        Why.NO_LABEL: "The base has no region label, or this process does not know it yet.",
        Why.NOT_ENROLLED: "The organization is not enrolled.",
        Why.NO_BACKING: "The region has no MicroVM group to swap to.",
        Why.BACKING_DOWN: "The backing is not live, so the run stays on containers.",
        Why.TEMPLATE_NOT_READY: "Its version has no ready template for its machine.",
        Why.MIGRATED: "The run goes to the backing of its region.",
        Why.MOVED: "Staff moved the run while it waited.",
    }
)
