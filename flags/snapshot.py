"""The flags of everyone, in memory: what every decision on the hot path reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings

from flags.catalog import value_for_organization
from flags.enrollment import dials_of
from flags.selectors import get_global_values_and_revision
from ledger.connections import release_connections
from ledger.registry import ReloadingRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class FlagSnapshot:
    """The values that are set and valid, as of a revision; they are never older than it."""

    values: Mapping[str, Any]
    revision: int
    dials: Mapping[str, int] | None  # percentage by plan; None: the migration is not enabled

    def value(self, key: str, overrides: Mapping[str, Any]) -> Any:
        """Give what flag `key` is for an organization with these overrides."""
        return value_for_organization(key, overrides=overrides, values=self.values)


def load_flag_snapshot() -> FlagSnapshot:
    """Read a fresh snapshot: values and revision of one moment."""
    values, revision = get_global_values_and_revision()
    return flag_snapshot(values, revision=revision)


def flag_snapshot(values: Mapping[str, Any], *, revision: int) -> FlagSnapshot:
    """Give the snapshot of global values that are valid. Pure."""
    return FlagSnapshot(values=values, revision=revision, dials=dials_of(values))


GLOBAL_FLAGS: ReloadingRegistry[FlagSnapshot] = ReloadingRegistry(
    "global-flags",
    load_flag_snapshot,
    interval_ms=settings.ENV.reload_interval_ms,
    release=release_connections,
)
"""`current()` is None while cold, which means: nothing is set."""
