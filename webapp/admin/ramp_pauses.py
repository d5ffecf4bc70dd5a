"""Which ramps a change of flags would pause, said before it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flags.catalog import MIGRATION_ENABLED
from flags.selectors import list_moving_ramps
from webapp.admin.ramp_words import percent

if TYPE_CHECKING:
    from collections.abc import Mapping


def pauses_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Give a sentence for each ramp that these values for everyone would pause."""
    is_off = MIGRATION_ENABLED in values and values[MIGRATION_ENABLED] is not True
    return tuple(
        f"The ramp of {flag} pauses; it has reached {percent(ramp.value)}."
        for flag, ramp in sorted(list_moving_ramps().items())
        if is_off or flag in values
    )
