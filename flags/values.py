"""The flags of everyone at one moment, and how ramps go on moving them. Pure.

A snapshot is a chain: the values of now and until when they hold, then those that follow. Whoever
decides takes the link of its own moment, so that a step of a ramp takes effect on time in every
replica, whether or not anything is reloaded meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from flags.catalog import value_for_organization
from flags.enrollment import dials_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flags.ramps import Moment

FOR_EVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class FlagSnapshot:
    """The values that are set and valid, as of a revision; they are never older than it."""

    values: Mapping[str, Any]
    revision: int
    dials: Mapping[str | None, int] | None  # percentage by plan; None: the migration is not enabled
    until_s: float = FOR_EVER  # this process's monotonic clock; from then on `following` holds
    following: FlagSnapshot | None = None

    def value(self, key: str, overrides: Mapping[str, Any]) -> Any:
        """Give what flag `key` is for an organization with these overrides."""
        return value_for_organization(key, overrides=overrides, values=self.values)

    def at(self, now_s: float) -> FlagSnapshot:
        """Give what holds at a moment of the monotonic clock, itself when nothing changed."""
        found = self
        while now_s >= found.until_s and found.following is not None:
            found = found.following
        return found


def flag_snapshot(
    values: Mapping[str, Any],
    *,
    revision: int,
    moments: Sequence[Moment] = (),
    read_at_s: float = 0.0,
) -> FlagSnapshot:
    """Give the snapshot of valid global values, and of what ramps make of them.

    **Args** `moments`: the dials that ramps move, from `read_at_s` of the monotonic clock on, which
    win over `values`; none: no ramp is running.
    """
    if not moments:
        return FlagSnapshot(values=values, revision=revision, dials=dials_of(values))
    following: FlagSnapshot | None = None
    for moment, later in reversed([*pairwise(moments), (moments[-1], None)]):
        effective = {**values, **moment.dials}
        following = FlagSnapshot(
            values=effective,
            revision=revision,
            dials=dials_of(effective),
            until_s=FOR_EVER if later is None else read_at_s + later.after_s,
            following=following,
        )
    assert following is not None
    return following
