"""The catalog of flags: what it allows and what it makes of what is stored."""

from __future__ import annotations

import pytest

from flags.catalog import CATALOG, Scope, is_allowed, valid_values, value_for_organization

FLAGS = {
    "computeMigrationEnabled",
    "computeMigrationFreePercentage",
    "computeMigrationPaidPercentage",
    "computeMigrationRequireReady",
    "computeMigrationRequireTemplate",
    "defaultWorkerInstanceGroupId",
    "hasComputeAccess",
}


def test_the_catalog_has_the_flags_that_are_read() -> None:
    """A flag nobody reads is not in the catalog."""
    assert set(CATALOG) == FLAGS
    assert all(spec.key == key and spec.purpose and spec.owner for key, spec in CATALOG.items())


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("hasComputeAccess", True, True),
        ("hasComputeAccess", False, True),
        ("hasComputeAccess", "false", False),
        ("hasComputeAccess", 1, False),
        ("hasComputeAccess", 0, False),
        ("hasComputeAccess", None, False),
        ("computeMigrationEnabled", True, True),
        ("computeMigrationEnabled", "true", False),
        ("computeMigrationEnabled", 1, False),
        ("computeMigrationFreePercentage", 0, True),
        ("computeMigrationFreePercentage", 100, True),
        ("computeMigrationFreePercentage", 101, False),
        ("computeMigrationFreePercentage", -1, False),
        ("computeMigrationFreePercentage", 12.0, False),
        ("computeMigrationFreePercentage", "12", False),
        ("computeMigrationFreePercentage", True, False),
        ("computeMigrationFreePercentage", False, False),
        ("computeMigrationFreePercentage", None, False),
        ("computeMigrationFreePercentage", [5], False),
        ("defaultWorkerInstanceGroupId", "wg_1", True),
        ("defaultWorkerInstanceGroupId", "", False),
        ("defaultWorkerInstanceGroupId", 5, False),
        ("defaultWorkerInstanceGroupId", True, False),
    ],
)
def test_values_are_strict(key: str, value: object, allowed: bool) -> None:
    """Nothing is coerced."""
    assert is_allowed(CATALOG[key], value) is allowed


def test_an_invalid_value_hides_no_other() -> None:
    """A stored value that is not allowed, or of no flag, counts as unset."""
    stored = {"hasComputeAccess": "yes", "defaultWorkerInstanceGroupId": "wg_1", "other": 1}
    assert valid_values(stored, scope=Scope.GLOBAL) == {"defaultWorkerInstanceGroupId": "wg_1"}


def test_global_flags_cannot_be_overridden() -> None:
    """An override of a flag that is global only means nothing."""
    stored = {"hasComputeAccess": True, "defaultWorkerInstanceGroupId": "wg_1"}
    assert valid_values(stored, scope=Scope.ORGANIZATION) == {"hasComputeAccess": True}


@pytest.mark.parametrize(
    ("overrides", "values", "value"),
    [
        ({}, {}, False),
        ({}, {"hasComputeAccess": True}, True),
        ({"hasComputeAccess": False}, {"hasComputeAccess": True}, False),
        ({"hasComputeAccess": True}, {"hasComputeAccess": False}, True),
    ],
)
def test_an_override_wins_both_ways(
    overrides: dict[str, bool], values: dict[str, bool], value: bool
) -> None:
    """The override, else the value for everyone, else the default."""
    assert value_for_organization("hasComputeAccess", overrides=overrides, values=values) is value
