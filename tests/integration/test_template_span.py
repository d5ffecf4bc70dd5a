"""The span of a deploy's compute templates: every attribute, for each way it can end."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.callback_listener import CallbackListener
from tests.deploying import Author
from tests.templating import author, deploying, enroll, gateway, require, tenant
from tests.web_process import ROOT
from webapp.tracing import start_tracing

if TYPE_CHECKING:
    from collections.abc import Generator

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.factories import Tenant
    from tests.fakes.template_gateway import TemplateGateway

__all__ = ["author", "gateway", "tenant"]

pytestmark = pytest.mark.django_db

PREFIX = "compute.template."


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Keep the spans of this process in memory; a process has one provider for its life."""
    kept = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    sdk = provider if isinstance(provider, TracerProvider) else TracerProvider()
    sdk.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(sdk)
    return kept


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Generator[InMemorySpanExporter, None, None]:
    """Begin without spans."""
    exporter.clear()
    yield exporter
    exporter.clear()


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    """Give the one span there is."""
    (span,) = spans.get_finished_spans()
    assert span.name == "compute.template.create"
    return span


def said(span: ReadableSpan) -> dict[str, Any]:
    """Give the attributes without what they all begin with."""
    attributes = span.attributes or {}
    assert all(name.startswith(PREFIX) for name in attributes)
    return {name.removeprefix(PREFIX): value for name, value in attributes.items()}


def test_a_skipped_deploy_says_why(author: Author, spans: InMemorySpanExporter) -> None:
    """Nobody is enrolled: mode, reason and result say that nothing was to be done."""
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    assert said(only(spans)) == {
        "mode": "skip",
        "migrated": False,
        "reason": "none",
        "deployment_id": started["id"],
        "presets_total": 2,
        "presets_required": 1,
        "presets_built": 0,
        "result": "skipped",
    }


def test_a_shadow_deploy_is_dispatched(
    author: Author, tenant: Tenant, spans: InMemorySpanExporter
) -> None:
    """What is built beside is not counted as built."""
    enroll(tenant)
    assert author.finalize(deploying(author)["id"]).status_code == 200
    found = said(only(spans))
    assert (found["mode"], found["migrated"], found["reason"]) == ("shadow", True, "migrated")
    assert (found["presets_built"], found["result"]) == (0, "shadow_dispatched")


def test_a_required_deploy_counts_what_was_built(
    author: Author, tenant: Tenant, gateway: TemplateGateway, spans: InMemorySpanExporter
) -> None:
    """An optional preset that is missing is missing in the count, and fails nothing."""
    enroll(tenant)
    require()
    gateway.script = [{"1.0": "no disk"}]
    assert author.finalize(deploying(author)["id"]).status_code == 200
    span = only(spans)
    found = said(span)
    assert (found["mode"], found["result"]) == ("required", "created")
    assert (found["presets_total"], found["presets_required"], found["presets_built"]) == (2, 1, 1)
    assert "failure" not in found
    assert span.status.status_code is StatusCode.UNSET


def test_a_failed_deploy_says_what_was_missing(
    author: Author, tenant: Tenant, gateway: TemplateGateway, spans: InMemorySpanExporter
) -> None:
    """The failure names preset and reason, and the span is an error."""
    enroll(tenant)
    require()
    gateway.script = [{"0.5": "no kernel", "1.0": "no disk"}]
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 400
    span = only(spans)
    found = said(span)
    assert (found["result"], found["presets_built"]) == ("failed", 0)
    assert "small-1x: no kernel" in str(found["failure"])
    assert span.status.status_code is StatusCode.ERROR


def test_a_repeated_finalize_has_no_span(author: Author, spans: InMemorySpanExporter) -> None:
    """What is deployed already asks for nothing."""
    started = deploying(author)
    for _ in range(2):
        assert author.finalize(started["id"]).status_code == 200
    only(spans)


def test_without_a_collector_nothing_is_started() -> None:
    """No address, no SDK."""
    assert start_tracing("", process="web") is False


def test_spans_reach_a_collector_before_the_process_ends() -> None:
    """With an address the SDK is started once, and what a process did last is not lost."""
    program = (
        "from opentelemetry import trace; from webapp.tracing import start_tracing; import sys\n"
        "assert start_tracing(sys.argv[1], process='web-1')\n"
        "assert start_tracing(sys.argv[1], process='web-1')\n"
        "with trace.get_tracer('t').start_as_current_span('compute.template.create'): pass\n"
    )
    collector = CallbackListener()
    try:
        address = collector.url.partition("/heard")[0]
        command = [sys.executable, "-c", program, address]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
    finally:
        collector.close()
    (path,), (body,) = collector.paths, collector.bodies
    assert path == "/v1/traces"
    for said_text in (b"compute.template.create", b"crossfade", b"web-1"):
        assert said_text in body
