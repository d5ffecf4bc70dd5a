"""Whether the migration is on, for the shell of every page that staff see; from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flags.catalog import MIGRATION_ENABLED
from flags.snapshot import GLOBAL_FLAGS

if TYPE_CHECKING:
    from django.http import HttpRequest


def migration_state(_request: HttpRequest) -> dict[str, Any]:
    """Give `is_migration_off`: true when this process knows so; a cold one does not."""
    flags = GLOBAL_FLAGS.current()
    return {
        "is_migration_off": flags is not None and flags.values.get(MIGRATION_ENABLED) is not True
    }
