"""Reads of flags from the database, for writers; the hot path reads `flags.snapshot`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import connection

from flags.catalog import CATALOG, Scope, valid_values
from flags.models import FeatureFlag, OrganizationFlag

if TYPE_CHECKING:
    from collections.abc import Mapping


# One statement, so that both belong to one moment; every replica runs it after every flip.
_GLOBAL_SQL = """
SELECT head.value, flag.key, flag.value
FROM (SELECT coalesce(max(value), 0) AS value FROM ledger_revision) AS head
LEFT JOIN flags_featureflag AS flag ON true
"""


def get_global_values_and_revision() -> tuple[Mapping[str, Any], int]:
    """Give the values that hold for everyone and the revision they hold at, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(_GLOBAL_SQL)
        rows = cursor.fetchall()
    stored = {key: json.loads(value) for _, key, value in rows if key is not None}
    return valid_values(stored, scope=Scope.GLOBAL), rows[0][0]


def get_global_values() -> Mapping[str, Any]:
    """Give the values that hold for everyone, those that are set and valid."""
    return valid_values(dict(FeatureFlag.objects.values_list("key", "value")), scope=Scope.GLOBAL)


def get_organization_values(organization_id: str) -> Mapping[str, Any]:
    """Give an organization's overrides, those that are set and valid."""
    rows = OrganizationFlag.objects.filter(organization_id=organization_id)
    return valid_values(dict(rows.values_list("key", "value")), scope=Scope.ORGANIZATION)


def list_organizations_with(key: str, value: object) -> list[str]:
    """Give the organizations whose own value of flag `key` is exactly this."""
    rows = OrganizationFlag.objects.filter(key=key, value=value).order_by("organization_id")
    return list(rows.values_list("organization_id", flat=True))


def get_global_value(key: str) -> Any:
    """Give the value of one flag for everyone, its default when it is not set."""
    return get_global_values().get(key, CATALOG[key].default)
