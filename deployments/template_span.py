"""What a trace shows of a deploy's compute templates: one span, `compute.template.create`.

Without an SDK in the process (`webapp/tracing.py`) the calls here do nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span

    from deployments.compute_templates import Presets
    from deployments.template_mode import TemplateDecision

NAME: Final = "compute.template.create"
PREFIX: Final = "compute.template"
FAILED: Final = "failed"
MAX_FAILURE: Final = 2000  # characters


class TemplateSpan:
    """The span while a deploy is finalized."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def note_built(self, presets: int) -> None:
        """Say how many presets are ready in every region that was asked for."""
        self._span.set_attribute(f"{PREFIX}.presets_built", presets)

    def note_result(self, result: str) -> None:
        """Say what came of it: skipped, shadow_dispatched, created."""
        self._span.set_attribute(f"{PREFIX}.result", result)

    def note_failure(self, error: Exception) -> None:
        """Say that the deploy ended here, and why."""
        self.note_result(FAILED)
        self._span.set_attribute(f"{PREFIX}.failure", str(error)[:MAX_FAILURE])


@contextmanager
def template_span(
    deployment_id: str, decision: TemplateDecision, presets: Presets
) -> Iterator[TemplateSpan]:
    """Give the span of a deploy's templates; what is raised within has failed and goes on."""
    attributes = {
        f"{PREFIX}.mode": decision.mode.value,
        f"{PREFIX}.migrated": decision.is_migrated,
        f"{PREFIX}.reason": decision.reason.value,
        f"{PREFIX}.deployment_id": deployment_id,
        f"{PREFIX}.presets_total": len(presets.names),
        f"{PREFIX}.presets_required": len(presets.required),
        f"{PREFIX}.presets_built": 0,
    }
    # Asked for each time: whoever starts tracing later is heard.
    tracer = trace.get_tracer("crossfade.deployments")
    with tracer.start_as_current_span(NAME, attributes=attributes) as span:
        noted = TemplateSpan(span)
        try:
            yield noted
        except Exception as error:
            noted.note_failure(error)
            raise
