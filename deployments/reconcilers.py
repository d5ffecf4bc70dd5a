"""What ends the deployments and uploads that somebody left half-way.

A reconciler takes no input: it reads the world and repairs it. Running one twice, or two at once,
changes nothing more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings

from deployments.artifacts import sweep_artifact_files
from deployments.lifecycle import time_out_deployments
from deployments.template_reconcilers import (
    WhenChanged,
    repair_compute_templates,
    request_missing_templates,
)

if TYPE_CHECKING:
    from collections.abc import Callable

UPLOAD_MAY_TAKE: Final = timedelta(hours=24)


def end_late_deployments() -> int:
    """Time out the deployments that nobody finished; give how many. Once a minute is enough."""
    timeout = timedelta(milliseconds=settings.ENV.deploy_timeout_ms)
    return time_out_deployments(now=datetime.now(UTC), timeout=timeout)


def sweep_artifacts() -> int:
    """Delete files that killed uploads left; give how many. Once an hour is enough."""
    return sweep_artifact_files(now=datetime.now(UTC), older_than=UPLOAD_MAY_TAKE)


RECONCILERS: Final[dict[str, Callable[[], int]]] = {
    function.__name__: function
    for function in (
        end_late_deployments,
        sweep_artifacts,
        repair_compute_templates,
        WhenChanged(request_missing_templates),
    )
}
