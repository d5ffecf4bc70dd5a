"""Reads of flags from the database, for writers; the hot path reads `flags.snapshot`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flags.catalog import CATALOG, Scope, valid_values
from flags.models import FeatureFlag, OrganizationFlag

if TYPE_CHECKING:
    from collections.abc import Mapping


def get_global_values() -> Mapping[str, Any]:
    """Give the values that hold for everyone, those that are set and valid."""
    return valid_values(dict(FeatureFlag.objects.values_list("key", "value")), scope=Scope.GLOBAL)


def get_organization_values(organization_id: str) -> Mapping[str, Any]:
    """Give an organization's overrides, those that are set and valid."""
    rows = OrganizationFlag.objects.filter(organization_id=organization_id)
    return valid_values(dict(rows.values_list("key", "value")), scope=Scope.ORGANIZATION)


def get_global_value(key: str) -> Any:
    """Give the value of one flag for everyone, its default when it is not set."""
    return get_global_values().get(key, CATALOG[key].default)
