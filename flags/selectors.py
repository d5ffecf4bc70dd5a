"""Reads of flags from the database, for writers; the hot path reads `flags.snapshot`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection

from flags.catalog import CATALOG, Scope, valid_values
from flags.models import FeatureFlag, OrganizationFlag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

PAGE_SIZE = 50

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


class StoredOverride(NamedTuple):
    """A value of one organization as it is stored; it may be one that its flag does not allow."""

    organization_id: str
    key: str
    value: Any
    updated_at: datetime


def list_stored_overrides(organization_ids: Iterable[str]) -> list[StoredOverride]:
    """Give everything that is stored of these organizations, invalid values too. One query."""
    rows = OrganizationFlag.objects.filter(organization_id__in=list(organization_ids))
    columns = rows.order_by("organization_id", "key").values_list(*StoredOverride._fields)
    return [StoredOverride(*row) for row in columns]


def list_overridden_ids(
    keys: Iterable[str], *, after: str | None = None, limit: int = PAGE_SIZE
) -> tuple[list[str], str | None]:
    """Give the organizations with a stored value of any of these flags, newest first.

    The second value is the `after` of the next page; None: this is the last one.
    """
    rows = OrganizationFlag.objects.filter(key__in=list(keys))
    if after is not None:
        rows = rows.filter(organization_id__lt=after)
    ids = rows.order_by("-organization_id").values_list("organization_id", flat=True).distinct()
    found = list(ids[: limit + 1])
    return found[:limit], found[limit - 1] if len(found) > limit else None


def list_override_values(key: str) -> Mapping[str, Any]:
    """Give what is stored of one flag by organization, invalid values too. One query."""
    return dict(OrganizationFlag.objects.filter(key=key).values_list("organization_id", "value"))


def get_global_value(key: str) -> Any:
    """Give the value of one flag for everyone, its default when it is not set."""
    return get_global_values().get(key, CATALOG[key].default)
