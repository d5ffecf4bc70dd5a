"""How many compute templates of current versions are in which state, read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

import structlog
from django.db import Error
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deployments.compute_templates import count_current_templates

log = structlog.get_logger(__name__)

NAME: Final = "crossfade_compute_templates"
MEANING: Final = "Compute templates of the versions that new runs use, by state."


class TemplateCollector(Collector):
    """Gives the same numbers in every process: they are those of the database."""

    def describe(self) -> Iterator[Metric]:
        """Name the family, so that nothing is read before somebody asks."""
        yield _family({})

    def collect(self) -> Iterator[Metric]:
        """Give every state, also the empty ones; nothing while the database is away."""
        try:
            counts = count_current_templates()
        except Error as error:
            log.warning("compute_templates.unread", error=str(error))
            return
        yield _family(counts)


@cache
def expose_templates() -> None:
    """Answer Prometheus from now on; for processes that serve it. Asking twice is asking once."""
    REGISTRY.register(TemplateCollector())


def _family(counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(NAME, MEANING, labels=["status"])
    for status, count in counts.items():
        family.add_metric([status], count)
    return family
