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
    STRING = "string"  # a text that is not empty


class Scope(StrEnum):
    """Where a flag may be set."""

    GLOBAL = "global"  # for everyone only
    ORGANIZATION = "organization"  # for everyone, and per organization, which wins


class FlagSpec(NamedTuple):
    """A flag."""

    key: str
    type: FlagType
    default: Any  # what it means when it is not set
    scope: Scope
    owner: str  # the app that reads it
    purpose: str


CATALOG: Final[Mapping[str, FlagSpec]] = MappingProxyType(
    {
        spec.key: spec
        for spec in (
            FlagSpec(
                key="defaultWorkerInstanceGroupId",
                type=FlagType.STRING,
                default=None,
                scope=Scope.GLOBAL,
                owner="deployments",
                purpose="The worker group of runs that name no region in projects without default",
            ),
            FlagSpec(
                key="hasComputeAccess",
                type=FlagType.BOOL,
                default=False,
                scope=Scope.ORGANIZATION,
                owner="deployments",
                purpose="The organization may choose MicroVM worker groups by name",
            ),
        )
    }
)


def is_allowed(spec: FlagSpec, value: object) -> bool:
    """Tell whether `value`, as it came out of JSON, may be stored for this flag."""
    if spec.type is FlagType.BOOL:
        return isinstance(value, bool)
    return isinstance(value, str) and value != ""


def expected(spec: FlagSpec) -> str:
    """Give what the flag's value may be, for people."""
    return "true or false" if spec.type is FlagType.BOOL else "a text that is not empty"


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
