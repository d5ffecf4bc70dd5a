"""Reads of flags as they are stored, values that mean nothing included: operators see them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flags.catalog import CATALOG, is_allowed
from flags.models import FeatureFlag, OrganizationFlag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

PAGE_SIZE = 50


class StoredOverride(NamedTuple):
    """A value of one organization as it is stored; it may be one that its flag does not allow."""

    organization_id: str
    key: str
    value: Any
    updated_at: datetime


def list_invalid_values(organization_id: str | None) -> Mapping[str, Any]:
    """Give what is stored of flags that do not allow it; None: for everyone. It counts as unset."""
    if organization_id is None:
        stored = dict(FeatureFlag.objects.values_list("key", "value"))
    else:
        own = OrganizationFlag.objects.filter(organization_id=organization_id)
        stored = dict(own.values_list("key", "value"))
    return {
        key: value
        for key, value in stored.items()
        if (spec := CATALOG.get(key)) is not None and not is_allowed(spec, value)
    }


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
