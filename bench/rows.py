"""The rows of a benchmark and which group measures them. Pure.

The names are fixed: scripts compare them from one release to the next. A row that could not be
measured is written with no value and a note that says why, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from bench.figures import Kind, times_better

DECIMALS = 3


class Kept(NamedTuple):
    """A row that exists: who measures it, and in what."""

    group: str
    unit: str


KEPT: Mapping[str, Kept] = {
    "stack.ready_s": Kept("stack", "s"),
    "stack.idle_pss_mb": Kept("stack", "MB"),
    "placement.decision_us_p50": Kept("placement", "us"),
    "placement.decision_vs_fastest_sdk": Kept("placement", "us"),
    "trigger.http_rps": Kept("trigger", "1/s"),
    "trigger.http_ms_p99": Kept("trigger", "ms"),
    "trigger.http_vs_pgbench": Kept("trigger", "1/s"),
    "trigger.http_vs_empty_view": Kept("trigger", "1/s"),
    "trigger.http_vs_restate": Kept("trigger", "1/s"),
    "trigger.batch_runs_per_s": Kept("trigger", "1/s"),
    "peer.procrastinate_batch_per_s": Kept("trigger", "1/s"),
    "peer.pgqueuer_batch_per_s": Kept("trigger", "1/s"),
    "peer.copy_per_s": Kept("trigger", "1/s"),
    "peer.procrastinate_enqueue_per_s": Kept("trigger", "1/s"),
    "peer.celery_enqueue_per_s": Kept("trigger", "1/s"),
    "dequeue.runs_per_s_1k": Kept("queue", "1/s"),
    "dequeue.runs_per_s_100k": Kept("queue", "1/s"),
    "dequeue.runs_per_s_1m": Kept("queue", "1/s"),
    "dequeue.slowdown_1k_to_1m": Kept("queue", "x"),
    "dequeue.slowdown_blocked_tenant": Kept("queue", "x"),
    "dequeue.slowdown_10k_lanes": Kept("queue", "x"),
    "queue.move_10k_s": Kept("queue", "s"),
    "runs.list_tag_ms_p95": Kept("queue", "ms"),
    "runs.list_task_ms_p95": Kept("queue", "ms"),
    "start.cold_ms_p50": Kept("start", "ms"),
    "start.cold_ms_p99": Kept("start", "ms"),
    "supervisor.idle_rss_mb": Kept("start", "MB"),
    "runner.idle_rss_mb": Kept("start", "MB"),
    "propagation.flip_ms_p99": Kept("migration", "ms"),
    "preview.100k_orgs_ms_p95": Kept("migration", "ms"),
    "template.start_speedup": Kept("template", "x"),
    "template.shadow_deploy_overhead": Kept("template", "x"),
}
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(kept.group for kept in KEPT.values()))


class Peer(NamedTuple):
    """What a row is measured beside, in the same run."""

    name: str
    value: float  # in the row's own unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure."""

    name: str
    value: float | None  # None: not measured, `note` says why
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None  # how many times better we are
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the object of `latest.json`: every key is there, unmeasured ones are null."""
        return asdict(self)


def measured(
    name: str, value: float, *, note: str, peer: Peer | None = None, kind: Kind = "rate"
) -> Row:
    """Give the row of a figure; with a peer it carries the ratio too. `kind` is the unit's.

    Raise KeyError for a name that is not kept.
    """
    unit = KEPT[name].unit
    if peer is None:
        return Row(name=name, value=_rounded(value), unit=unit, note=note)
    return Row(
        name=name,
        value=_rounded(value),
        unit=unit,
        peer=peer.name,
        peer_value=_rounded(peer.value),
        ratio=_rounded(times_better(value, peer.value, kind)),
        note=note,
    )


def unmeasured(name: str, why: str) -> Row:
    """Give the row of a figure that this machine could not give."""
    return Row(name=name, value=None, unit=KEPT[name].unit, note=why)


def complete(group: str, rows: Iterable[Row], *, why: str = "not measured") -> list[Row]:
    """Give every row of a group in the kept order; those that are missing say `why`.

    Raise ValueError when there is one that the group does not have.
    """
    by_name = {row.name: row for row in rows}
    names = [name for name, kept in KEPT.items() if kept.group == group]
    if strangers := by_name.keys() - set(names):
        raise ValueError(f"the group {group} has no row {', '.join(sorted(strangers))}")
    return [by_name.get(name) or unmeasured(name, why) for name in names]


def _rounded(value: float) -> float:
    return round(value, DECIMALS)
