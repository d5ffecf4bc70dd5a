"""How long ago each reconciler ran and what it found, read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import structlog
from django.db import Error
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from runs.reconciler_records import ReconcilerState, list_reconcilers
from runs.tasks import ALL_RECONCILERS

log = structlog.get_logger(__name__)

AGE: Final = (
    "crossfade_reconciler_age_seconds",
    "How long ago the reconciler last ran; NaN when it never has.",
)
FOUND: Final = ("crossfade_reconciler_found", "What the last run of the reconciler found.")
FAILED: Final = (
    "crossfade_reconciler_failed",
    "1 when the last run of the reconciler ended with an error, else 0.",
)


class ReconcilerCollector(Collector):
    """Gives the same numbers in every process: they are those of the shared record."""

    def describe(self) -> Iterator[Metric]:
        """Name the families, so that nothing is read before somebody asks."""
        yield from _families([])

    def collect(self) -> Iterator[Metric]:
        """Give a family each for age, findings and failures; none while the database is away."""
        try:
            states = list_reconcilers(ALL_RECONCILERS)
        except Error as error:
            log.warning("reconcilers.unread", error=str(error))
            return
        yield from _families(states)


@cache
def expose_reconcilers() -> None:
    """Answer Prometheus from now on; for processes that serve it. Asking twice is asking once."""
    REGISTRY.register(ReconcilerCollector())


def _families(states: list[ReconcilerState]) -> Iterator[GaugeMetricFamily]:
    age, found, failed = (
        GaugeMetricFamily(name, meaning, labels=["name"]) for name, meaning in (AGE, FOUND, FAILED)
    )
    for state in states:
        age.add_metric([state.name], float("nan") if state.age_s is None else state.age_s)
        found.add_metric([state.name], state.found)
        failed.add_metric([state.name], 0 if state.error is None else 1)
    yield from (age, found, failed)
