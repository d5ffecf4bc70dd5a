"""What runs count, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

TRIGGERED = Counter(
    "crossfade_runs_triggered_total", "Runs triggered, by placement", ["enrollment", "why"]
)
DEQUEUED = Counter("crossfade_runs_dequeued_total", "Runs leased, by worker queue", ["queue"])
MOVED = Counter("crossfade_runs_moved_total", "Waiting runs that staff moved to another queue")
MOVES = Counter("crossfade_run_moves_total", "Moves of runs, by event", ["event"])
REFUSED = Counter(
    "crossfade_run_moves_refused_total", "Moves refused as stale or illegal, by event", ["event"]
)
RECONCILED = Counter(
    "crossfade_reconciler_fixed_total", "What reconcilers repaired, by reconciler", ["name"]
)
