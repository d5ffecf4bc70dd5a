"""How values for everyone are stored: by writes of flags, and by ramps that leave their dial."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from flags.catalog import CATALOG, is_allowed
from flags.models import FeatureFlag

if TYPE_CHECKING:
    from collections.abc import Mapping

GLOBAL: Final = "global"
"""The subject and the audit scope of values that hold for everyone."""


def store_global_values(values: Mapping[str, Any]) -> None:
    """Store values that were checked, as part of a ledger write; None removes one."""
    now = datetime.now(UTC)
    removed = [key for key, value in values.items() if value is None]
    FeatureFlag.objects.filter(key__in=removed).delete()
    FeatureFlag.objects.bulk_create(
        [
            FeatureFlag(key=key, value=value, updated_at=now)
            for key, value in values.items()
            if value is not None
        ],
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=["value", "updated_at"],
    )


def find_stored_value(key: str) -> Any:
    """Give what is stored under a flag, None when it is not set or not allowed."""
    value = FeatureFlag.objects.filter(key=key).values_list("value", flat=True).first()
    return value if value is not None and is_allowed(CATALOG[key], value) else None
