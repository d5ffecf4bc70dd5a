"""What waits where, who is alive, and where the dials stand, read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple

import structlog
from django.db import Error
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deployments.selectors import WorkerGroupView, list_worker_groups
from flags.catalog import MIGRATION_ENABLED
from flags.enrollment import DIALS
from flags.selectors import get_global_values
from runs.starting import QueueStanding, list_queue_standings

log = structlog.get_logger(__name__)

HEARD: Final = (
    "crossfade_worker_group_heartbeat_age_seconds",
    "How long ago a supervisor of the worker group was heard of; NaN when none ever was.",
)
WAITING: Final = (
    "crossfade_queue_waiting_runs",
    "Runs that may be taken now, at most 10,000; none that a limit or a pause holds back.",
)
WAITING_S: Final = (
    "crossfade_queue_waiting_seconds",
    "For how long the oldest of the runs that may be taken now may be.",
)
LEASED: Final = ("crossfade_queue_leased_runs", "Runs in the hands of supervisors.")
HANDED_BACK: Final = (
    "crossfade_queue_handed_back_runs",
    "Runs that were leased, could not be started, and have not begun since.",
)
ENABLED: Final = ("crossfade_migration_enabled", "1 while percentages enroll, else 0.")
DIAL: Final = (
    "crossfade_migration_dial_percent",
    "Where the dial of a plan stands, ramps included.",
)
ALL: Final = (HEARD, WAITING, WAITING_S, LEASED, HANDED_BACK, ENABLED, DIAL)


class Fleet(NamedTuple):
    """What the metrics are made from."""

    groups: Sequence[WorkerGroupView]
    queues: Sequence[QueueStanding]
    is_enabled: bool
    dials: dict[str, int]  # plan -> percent


class FleetCollector(Collector):
    """Gives the same numbers in every process: they are those of the database."""

    def describe(self) -> Iterator[Metric]:
        """Name the families, so that nothing is read before somebody asks."""
        for name, meaning in ALL:
            yield GaugeMetricFamily(name, meaning)

    def collect(self) -> Iterator[Metric]:
        """Give every worker group and both dials; nothing while the database is away."""
        try:
            fleet = _read()
        except Error as error:
            log.warning("fleet.unread", error=str(error))
            return
        yield from _groups(fleet.groups)
        yield from _queues(fleet.queues)
        yield GaugeMetricFamily(*ENABLED, value=float(fleet.is_enabled))
        dials = GaugeMetricFamily(*DIAL, labels=["plan"])
        for plan, percent in fleet.dials.items():
            dials.add_metric([plan], percent)
        yield dials


@cache
def expose_fleet() -> None:
    """Answer Prometheus from now on; for processes that serve it. Asking twice is asking once."""
    REGISTRY.register(FleetCollector())


def _read() -> Fleet:
    groups, values = list_worker_groups(), get_global_values()
    return Fleet(
        groups,
        list_queue_standings([group.row.master_queue for group in groups]),
        values.get(MIGRATION_ENABLED) is True,
        {plan: values.get(key, 0) for plan, key in DIALS.items()},
    )


def _groups(groups: Sequence[WorkerGroupView]) -> Iterator[Metric]:
    heard, now = GaugeMetricFamily(*HEARD, labels=["queue", "workload_type"]), datetime.now(UTC)
    for group in groups:
        at = group.last_heartbeat_at
        age_s = float("nan") if at is None else (now - at).total_seconds()
        heard.add_metric([group.row.master_queue, group.row.workload_type], age_s)
    yield heard


def _queues(queues: Sequence[QueueStanding]) -> Iterator[Metric]:
    waiting, waiting_s, leased, handed_back = (
        GaugeMetricFamily(*family, labels=["queue"])
        for family in (WAITING, WAITING_S, LEASED, HANDED_BACK)
    )
    for queue in queues:
        waiting.add_metric([queue.worker_queue], queue.ready)
        waiting_s.add_metric([queue.worker_queue], queue.ready_s)
        leased.add_metric([queue.worker_queue], queue.leased)
        handed_back.add_metric([queue.worker_queue], queue.handed_back)
    yield from (waiting, waiting_s, leased, handed_back)
