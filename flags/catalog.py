"""Every flag there is: what it may hold, where it may be set, and what it means when it is not.

A stored value that its flag does not allow counts as unset; it never hides the other flags. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class FlagType(StrEnum):
    """What a flag's value may be. Nothing is coerced: the string "false" is no boolean."""

    BOOL = "bool"  # true or false
    PERCENT = "percent"  # a whole number from 0 to 100; true is none, nor is 12.0
    STRING = "string"  # a text that is not empty


class Scope(StrEnum):
    """Where a flag may be set."""

    GLOBAL = "global"  # for everyone only
    ORGANIZATION = "organization"  # for everyone, and per organization, which wins


class Writer(StrEnum):
    """Who may write a flag by hand."""

    STAFF = "staff"  # on the pages and over the staff API
    STAFF_API = "staff_api"  # over the staff API only; the pages show it


class FlagSpec(NamedTuple):
    """A flag."""

    key: str
    type: FlagType
    default: Any  # what it means when it is not set
    scope: Scope
    owner: str  # the app that reads it
    purpose: str
    writer: Writer = Writer.STAFF


MIGRATION_ENABLED: Final = "computeMigrationEnabled"
FREE_PERCENTAGE: Final = "computeMigrationFreePercentage"
PAID_PERCENTAGE: Final = "computeMigrationPaidPercentage"
REQUIRE_TEMPLATE: Final = "computeMigrationRequireTemplate"
REQUIRE_READY: Final = "computeMigrationRequireReady"
COMPUTE_ACCESS: Final = "hasComputeAccess"
DEFAULT_GROUP: Final = "defaultWorkerInstanceGroupId"
MAX_PERCENT: Final = 100

CATALOG: Final[Mapping[str, FlagSpec]] = MappingProxyType(
    {
        spec.key: spec
        for spec in (
            FlagSpec(
                key=MIGRATION_ENABLED,
                type=FlagType.BOOL,
                default=False,
                scope=Scope.ORGANIZATION,
                owner="runs",
                purpose="Runs of enrolled organizations go to the MicroVM backing of their region. "
                "Off for everyone, nobody is enrolled by percentage; an organization's own value "
                "wins both ways",
            ),
            FlagSpec(
                key=FREE_PERCENTAGE,
                type=FlagType.PERCENT,
                default=0,
                scope=Scope.GLOBAL,
                owner="runs",
                purpose="How many percent of the organizations on the free plan are enrolled",
            ),
            FlagSpec(
                key=PAID_PERCENTAGE,
                type=FlagType.PERCENT,
                default=0,
                scope=Scope.GLOBAL,
                owner="runs",
                purpose="How many percent of the organizations on the paid plan are enrolled",
            ),
            FlagSpec(
                key=REQUIRE_TEMPLATE,
                type=FlagType.BOOL,
                default=False,
                scope=Scope.GLOBAL,
                owner="deployments",
                purpose="A deploy of an enrolled organization waits for its compute template and "
                "fails without it",
            ),
            FlagSpec(
                key=REQUIRE_READY,
                type=FlagType.BOOL,
                default=False,
                scope=Scope.GLOBAL,
                owner="runs",
                purpose="A run is moved to a backing only when its version has a ready compute "
                "template for its machine there; until then it stays on containers",
            ),
            FlagSpec(
                key=COMPUTE_ACCESS,
                type=FlagType.BOOL,
                default=False,
                scope=Scope.ORGANIZATION,
                owner="deployments",
                purpose="The organization may choose MicroVM worker groups by name",
            ),
            FlagSpec(
                key=DEFAULT_GROUP,
                type=FlagType.STRING,
                default=None,
                scope=Scope.GLOBAL,
                owner="deployments",
                purpose="The worker group of runs that name no region in projects without default",
                writer=Writer.STAFF_API,
            ),
        )
    }
)


def is_allowed(spec: FlagSpec, value: object) -> bool:
    """Tell whether `value`, as it came out of JSON, may be stored for this flag."""
    if spec.type is FlagType.BOOL:
        return isinstance(value, bool)
    if spec.type is FlagType.PERCENT:
        return type(value) is int and 0 <= value <= MAX_PERCENT
    return isinstance(value, str) and value != ""


def expected(spec: FlagSpec) -> str:
    """Give what the flag's value may be, for people."""
    return _EXPECTED[spec.type]


_EXPECTED: Final[Mapping[FlagType, str]] = MappingProxyType(
    {
        FlagType.BOOL: "true or false",
        FlagType.PERCENT: f"a whole number from 0 to {MAX_PERCENT}",
        FlagType.STRING: "a text that is not empty",
    }
)


def valid_values(stored: Mapping[str, object], *, scope: Scope) -> Mapping[str, Any]:
    """Give the stored values that mean something in this scope; unknown and invalid ones do not."""
    return MappingProxyType(
        {
            key: value
            for key, value in stored.items()
            if (spec := CATALOG.get(key)) is not None
            and scope in (Scope.GLOBAL, spec.scope)
            and is_allowed(spec, value)
        }
    )


def value_for_organization(
    key: str, *, overrides: Mapping[str, Any], values: Mapping[str, Any]
) -> Any:
    """Give the value of flag `key` in effect: the override, else the global one, else the default.

    `overrides` and `values` are what `valid_values` gave. Raise KeyError for a flag that is none.
    """
    spec = CATALOG[key]
    return overrides.get(key, values.get(key, spec.default))
