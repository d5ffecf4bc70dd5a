"""Where the spans of this process go: to an OpenTelemetry collector, when one is configured.

The SDK is imported only then. It sends from a thread of its own, keeps a bounded number of spans
while the collector is away, and forgets the rest: tracing never holds up a request.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from opentelemetry import trace

TRACES_PATH: Final = "/v1/traces"
SERVICE: Final = "crossfade"


@cache
def start_tracing(endpoint: str, *, process: str) -> bool:
    """Send spans to a collector from now on; False without one. Starting twice is starting once.

    **Args** `endpoint` is the base address of its OTLP over HTTP, `process` this process's name.
    What is still waiting is sent when the process ends.
    """
    if not endpoint:
        return False
    # Costs 100 ms and 10 MB that only those who trace should pay.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = Resource.create({"service.name": SERVICE, "service.instance.id": process})
    provider = TracerProvider(resource=named)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}{TRACES_PATH}")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return True
