"""How many compute templates of current versions are in which state, and the share that is ready.

Read when Prometheus asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

import structlog
from django.db import Error
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deployments.template_states import TemplateState
from deployments.template_views import count_current_templates

log = structlog.get_logger(__name__)

NAME: Final = "crossfade_compute_templates"
MEANING: Final = "Compute templates of the versions that new runs use, by state."
RATIO: Final = "crossfade_compute_templates_ready_ratio"
RATIO_MEANING: Final = "Ready ones of all compute templates of the versions that new runs use."


class TemplateCollector(Collector):
    """Gives the same numbers in every process: they are those of the database."""

    def describe(self) -> Iterator[Metric]:
        """Name the family, so that nothing is read before somebody asks."""
        yield _family({})
        yield _ratio({})

    def collect(self) -> Iterator[Metric]:
        """Give every state, also the empty ones; nothing while the database is away.

        Of no template no share is ready: then there is no ratio.
        """
        try:
            counts = count_current_templates()
        except Error as error:
            log.warning("compute_templates.unread", error=str(error))
            return
        yield _family(counts)
        yield _ratio(counts)


@cache
def expose_templates() -> None:
    """Answer Prometheus from now on; for processes that serve it. Asking twice is asking once."""
    REGISTRY.register(TemplateCollector())


def _family(counts: Mapping[TemplateState, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(NAME, MEANING, labels=["status"])
    for status, count in counts.items():
        family.add_metric([status], count)
    return family


def _ratio(counts: Mapping[TemplateState, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(RATIO, RATIO_MEANING, labels=[])
    whole = sum(counts.values())
    if whole:
        family.add_metric([], counts[TemplateState.READY] / whole)
    return family
