"""What a gateway counts, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CREATE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

BUILD_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The metrics of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.running = Gauge(
            "gateway_instances", "Instances that run or are being started", registry=self.registry
        )
        self.requests = Counter(
            "gateway_requests", "Calls by what was asked and answered",
            ["call", "status"], registry=self.registry,
        )  # fmt: skip
        self.warm = Gauge(
            "gateway_warm_processes",
            "Processes that have imported a template's code and wait for a run",
            registry=self.registry,
        )
        self.template_seconds = Histogram(
            "gateway_template_build_duration_seconds",
            "Time it took to prepare an image for one size of machine, by what became of it",
            ["result"],
            buckets=BUILD_BUCKETS,
            registry=self.registry,
        )
        self.create_seconds = Histogram(
            "gateway_instance_create_duration_seconds",
            "Time a create took, by the status of its answer",
            ["status"],
            buckets=CREATE_BUCKETS,
            registry=self.registry,
        )

    def note_template(self, is_built: bool, seconds: float) -> None:  # noqa: FBT001 - a callback
        """Note what became of one size of a template, and how long it took."""
        self.template_seconds.labels(result="built" if is_built else "failed").observe(seconds)
