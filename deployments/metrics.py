"""What deployments count, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

DECIDED = Counter(
    "crossfade_deploy_templates_total",
    "Deploys finalized, by what was decided about their compute templates and what came of it",
    ["mode", "reason", "result"],  # skipped, shadow_dispatched, created, failed
)
TEMPLATES = Counter(
    "crossfade_compute_template_attempts_total",
    "Requests for a compute template that came to an end",
    ["mode", "preset", "result"],  # built, retry, failed
)
BUILD_SECONDS = Histogram(
    "crossfade_compute_template_build_seconds",
    "From asking the gateway for a compute template to knowing what became of it",
    ["preset", "result"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
