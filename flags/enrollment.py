"""Whether an organization takes part in the compute migration: one pure rule, used by everyone.

A trigger, a deploy, the preview and the explanation all ask `enroll`. The bucket of an organization
is fixed by its id and is not salted, so that raising a dial only ever adds organizations and
lowering it only ever removes some.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from flags.catalog import FREE_PERCENTAGE, MIGRATION_ENABLED, PAID_PERCENTAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKETS: Final = 100
DIALS: Final[Mapping[str, str]] = {"free": FREE_PERCENTAGE, "paid": PAID_PERCENTAGE}
"""The dial of each plan that percentages enroll; other plans take part by override only."""

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193
_MASK: Final = 0xFFFFFFFF


class Enrollment(StrEnum):
    """Whether the organization takes part in the migration; the first that holds."""

    OVERRIDE_OFF = "override_off"  # its override is exactly false
    OVERRIDE_ON = "override_on"  # its override is exactly true
    COLD = "cold"  # no flag snapshot yet
    GLOBAL_OFF = "global_off"  # computeMigrationEnabled is not true
    PLAN_NOT_ENROLLABLE = "plan_not_enrollable"  # plan enterprise or unknown
    OUT_OF_PERCENTAGE = "out_of_percentage"  # its bucket is not below its plan's dial
    IN_PERCENTAGE = "in_percentage"  # its bucket is below its plan's dial

    @property
    def is_enrolled(self) -> bool:
        """Whether it takes part."""
        return self in ENROLLED


ENROLLED: Final = frozenset({Enrollment.OVERRIDE_ON, Enrollment.IN_PERCENTAGE})

# To read a member from its class takes as long as a third of the rule; these are the members.
_OVERRIDE_OFF: Final = Enrollment.OVERRIDE_OFF
_OVERRIDE_ON: Final = Enrollment.OVERRIDE_ON
_COLD: Final = Enrollment.COLD
_GLOBAL_OFF: Final = Enrollment.GLOBAL_OFF
_PLAN_NOT_ENROLLABLE: Final = Enrollment.PLAN_NOT_ENROLLABLE
_OUT_OF_PERCENTAGE: Final = Enrollment.OUT_OF_PERCENTAGE
_IN_PERCENTAGE: Final = Enrollment.IN_PERCENTAGE


class Enrollable(Protocol):
    """What the rule reads of an organization."""

    @property
    def plan(self) -> str | None:
        """`free`, `paid`, `enterprise`; None: unknown."""

    @property
    def bucket(self) -> int:
        """What `bucket_of` gives for its id; kept, because it never changes."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        """Its own flags, valid values only."""


class Dialled(Protocol):
    """What the rule reads of the flag snapshot."""

    @property
    def dials(self) -> Mapping[str | None, int] | None:
        """Percentage by plan, never of None; None: the migration is not enabled."""


def enroll(organization: Enrollable, flags: Dialled | None) -> Enrollment:
    """Decide whether an organization takes part. Total: it never raises.

    **Rule** its override, exactly false or true; else cold without flags; else off unless the
    migration is enabled; else, for a plan that has a dial, in when its bucket is below the dial.
    """
    overrides = organization.overrides
    if overrides and MIGRATION_ENABLED in overrides:  # hardly anybody has any
        override = overrides[MIGRATION_ENABLED]
        if override is True or override is False:
            return _OVERRIDE_ON if override else _OVERRIDE_OFF
    if flags is None:
        return _COLD
    dials = flags.dials
    if dials is None:
        return _GLOBAL_OFF
    percentage = dials.get(organization.plan)
    if percentage is None:
        return _PLAN_NOT_ENROLLABLE
    return _IN_PERCENTAGE if organization.bucket < percentage else _OUT_OF_PERCENTAGE


def dials_of(values: Mapping[str, Any]) -> Mapping[str | None, int] | None:
    """Give the percentage of each plan with a dial, 0 when it is not set; None when switched off.

    `values` are the global ones, valid only.
    """
    if values.get(MIGRATION_ENABLED) is not True:
        return None
    return {plan: values.get(key, 0) for plan, key in DIALS.items()}


def bucket_of(organization_id: str) -> int:
    """Give the bucket of an organization, 0 to 99.

    FNV-1a with 32 bits over the UTF-16 code units of the id, modulo 100: known answers are in
    `tests/vectors/buckets.json`.

    >>> bucket_of("org_42")
    52
    """
    state = _FNV_OFFSET
    for unit in memoryview(organization_id.encode("utf-16-le", "surrogatepass")).cast("H"):
        state = ((state ^ unit) * _FNV_PRIME) & _MASK
    return state % BUCKETS
