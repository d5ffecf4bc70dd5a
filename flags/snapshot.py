"""The flags of everyone, in memory: what every decision on the hot path reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

from flags.catalog import value_for_organization
from flags.selectors import get_global_values
from ledger.connections import release_connections
from ledger.registry import ReloadingRegistry
from ledger.selectors import current_revision

if TYPE_CHECKING:
    from collections.abc import Mapping


class FlagSnapshot(NamedTuple):
    """The values that are set and valid, as of a revision; they are never older than it."""

    values: Mapping[str, Any]
    revision: int

    def value(self, key: str, overrides: Mapping[str, Any]) -> Any:
        """Give what flag `key` is for an organization with these overrides."""
        return value_for_organization(key, overrides=overrides, values=self.values)


def load_flag_snapshot() -> FlagSnapshot:
    """Read a fresh snapshot. The revision is read first, so that it never claims too much."""
    revision = current_revision()
    return FlagSnapshot(values=get_global_values(), revision=revision)


GLOBAL_FLAGS: ReloadingRegistry[FlagSnapshot] = ReloadingRegistry(
    "global-flags",
    load_flag_snapshot,
    interval_ms=settings.ENV.reload_interval_ms,
    release=release_connections,
)
"""`current()` is None while cold, which means: nothing is set."""
