"""What a supervisor counts, in a registry of its own, and the page that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

CREATE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
DEQUEUE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 11, 12.5, 15, 20, 30, 60)


class Metrics:
    """The metrics of one supervisor."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.running = Gauge(
            "supervisor_workloads", "Workloads that hold resources", registry=self.registry
        )
        self.dequeue_seconds = Histogram(
            "queue_consumer_pool_dequeue_duration_seconds",
            "Time a dequeue took, by what it brought: success, empty or error",
            ["outcome"],
            buckets=DEQUEUE_BUCKETS,
            registry=self.registry,
        )
        self.create_seconds = Histogram(
            "workload_create_duration_seconds",
            "Time from a lease to its running workload, by outcome: ok or why not",
            ["outcome"],
            buckets=CREATE_BUCKETS,
            registry=self.registry,
        )
        self.dispatch_failures = Counter(
            "supervisor_dispatch_failures",
            "Leases handed back to the platform, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.exits = Counter(
            "supervisor_workload_exits",
            "Workloads that ended, by how far they had got: leased, executing or done",
            ["phase"],
            registry=self.registry,
        )
        self.tokens = Counter(
            "supervisor_workload_tokens",
            "What runners showed as deployment token",
            ["outcome"],
            registry=self.registry,
        )
        self.relays = Counter(
            "supervisor_relayed_calls",
            "Calls of runners handed on to the platform, by answer",
            ["call", "status"],
            registry=self.registry,
        )


def make_metrics_app(metrics: Metrics) -> Starlette:
    """Give the application that serves `/metrics`."""

    async def show(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/metrics", show)])
