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


class Goal(NamedTuple):
    """What a row should reach: its value, or how many times better than its peer it is."""

    bound: float
    is_most: bool  # else the least
    is_ratio: bool = False

    def is_met(self, row: Row) -> bool:
        """Tell whether a row reaches it; what was not measured does not."""
        figure = row.ratio if self.is_ratio else row.value
        if figure is None:
            return False
        return figure <= self.bound if self.is_most else figure >= self.bound


def at_most(bound: float) -> Goal:
    """Give the goal of a value, in the row's unit, of which less is better."""
    return Goal(bound, is_most=True)


def at_least(bound: float) -> Goal:
    """Give the goal of a value, in the row's unit, of which more is better."""
    return Goal(bound, is_most=False)


def times(bound: float) -> Goal:
    """Give the goal of a row that is compared: how many times better at least."""
    return Goal(bound, is_most=False, is_ratio=True)


class Kept(NamedTuple):
    """A row that exists: who measures it, in what, what it means to a reader, and its goal."""

    group: str
    unit: str
    means: str
    goal: Goal | None = None


KEPT: Mapping[str, Kept] = {
    "stack.ready_s": Kept("stack", "s", "from a clone to the first finished run", at_most(90)),
    "stack.idle_pss_mb": Kept(
        "stack", "MB", "memory of the idle stack, servers included", at_most(550)
    ),
    "placement.decision_us_p50": Kept("placement", "us", "one placement decision", at_most(0.6)),
    "placement.decision_vs_fastest_sdk": Kept(
        "placement", "us", "one placement decision, beside the fastest flag SDK", times(10)
    ),
    "trigger.http_rps": Kept(
        "trigger",
        "1/s",
        "triggers over HTTP, beside a task queue's in-process enqueue",
        at_least(1500),
    ),
    "trigger.http_ms_p99": Kept(
        "trigger", "ms", "the slowest of a hundred triggers, at 300/s", at_most(25)
    ),
    "trigger.http_vs_pgbench": Kept(
        "trigger", "1/s", "triggers over HTTP, beside their bare statement", times(0.2)
    ),
    "trigger.http_vs_empty_view": Kept(
        "trigger", "1/s", "triggers over HTTP, beside a view that does nothing", times(0.5)
    ),
    "trigger.http_vs_restate": Kept(
        "trigger", "1/s", "triggers over HTTP, beside a server in compiled code", times(5)
    ),
    "trigger.batch_runs_per_s": Kept(
        "trigger", "1/s", "runs triggered in batches", at_least(15_000)
    ),
    "peer.procrastinate_batch_per_s": Kept("trigger", "1/s", "jobs a peer takes in batches"),
    "peer.pgqueuer_batch_per_s": Kept("trigger", "1/s", "jobs another peer takes in batches"),
    "peer.copy_per_s": Kept("trigger", "1/s", "rows PostgreSQL takes by COPY"),
    "peer.procrastinate_enqueue_per_s": Kept("trigger", "1/s", "jobs a peer takes one by one"),
    "peer.celery_enqueue_per_s": Kept(
        "trigger", "1/s", "jobs a peer takes that keeps them in memory"
    ),
    "dequeue.runs_per_s_1k": Kept("queue", "1/s", "leases from a backlog of a thousand runs"),
    "dequeue.runs_per_s_100k": Kept(
        "queue", "1/s", "leases from a backlog of a hundred thousand runs"
    ),
    "dequeue.runs_per_s_1m": Kept("queue", "1/s", "leases from a backlog of a million runs"),
    "dequeue.slowdown_1k_to_1m": Kept(
        "queue", "x", "leasing from a million runs, beside a thousand", at_most(1.3)
    ),
    "dequeue.slowdown_blocked_tenant": Kept(
        "queue", "x", "leasing past a million runs of a tenant at its limit", at_most(1.3)
    ),
    "dequeue.slowdown_10k_lanes": Kept(
        "queue", "x", "leasing from ten thousand queues, beside one", at_most(2)
    ),
    "queue.move_10k_s": Kept(
        "queue", "s", "moving ten thousand waiting runs to MicroVM", at_most(2)
    ),
    "runs.list_tag_ms_p95": Kept(
        "queue", "ms", "a list of runs by a tag that few have, beside one without a filter"
    ),
    "runs.list_task_ms_p95": Kept(
        "queue", "ms", "a list of runs by a task few are of, beside one without a filter"
    ),
    "start.cold_ms_p50": Kept("start", "ms", "from a trigger's answer to the task's first line"),
    "start.cold_ms_p99": Kept("start", "ms", "the slowest of them"),
    "supervisor.idle_rss_mb": Kept("start", "MB", "memory of an idle supervisor"),
    "runner.idle_rss_mb": Kept("start", "MB", "memory of a task that sleeps"),
    "propagation.flip_ms_p99": Kept(
        "migration", "ms", "the slowest of a hundred flips to reach every process", at_most(50)
    ),
    "preview.100k_orgs_ms_p95": Kept(
        "migration", "ms", "preview of a dial among 100,000 organizations", at_most(200)
    ),
    "template.start_speedup": Kept(
        "template", "x", "start with a compute template, beside without", at_least(3)
    ),
    "template.shadow_deploy_overhead": Kept(
        "template", "x", "a deploy with a template built beside, over one without", at_most(1.05)
    ),
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
