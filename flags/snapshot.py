"""The flags of everyone, in memory: what every decision on the hot path reads."""

from __future__ import annotations

import time

from django.conf import settings

from flags.ramps import moments_for
from flags.selectors import read_global_flags
from flags.values import FlagSnapshot, flag_snapshot
from ledger.connections import release_connections
from ledger.registry import ReloadingRegistry


def load_flag_snapshot() -> FlagSnapshot:
    """Read a fresh snapshot: values, ramps and revision of one moment.

    Ramps go on by this process's monotonic clock from what the database's clock said, so that
    replicas whose clocks differ move together. A step is never early: it is late by the query.
    """
    read = read_global_flags()
    return flag_snapshot(
        read.stored,
        revision=read.revision,
        moments=moments_for(read.moving),
        read_at_s=time.monotonic(),
    )


GLOBAL_FLAGS: ReloadingRegistry[FlagSnapshot] = ReloadingRegistry(
    "global-flags",
    load_flag_snapshot,
    interval_ms=settings.ENV.reload_interval_ms,
    release=release_connections,
)
"""`current()` is None while cold, which means: nothing is set. Ask `current_flags` to decide."""


def current_flags(now_s: float) -> FlagSnapshot | None:
    """Give the flags in effect at this moment of the monotonic clock; None while cold."""
    snapshot = GLOBAL_FLAGS.current()
    if snapshot is None or now_s < snapshot.until_s:
        return snapshot
    return snapshot.at(now_s)
