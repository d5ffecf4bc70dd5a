"""Compute templates as staff see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db import connection

from deployments.models.templates import ComputeTemplate
from deployments.template_states import TemplateState

if TYPE_CHECKING:
    from datetime import datetime


_COUNT_CURRENT = """
SELECT template.status, count(*)::int
FROM deployments_computetemplate AS template
JOIN deployments_currentversion AS version ON version.worker_id = template.worker_id
GROUP BY template.status
"""


class TemplateView(NamedTuple):
    """The template of one version for one machine preset in one region."""

    id: str
    preset: str
    region: str
    mode: str  # of the decision that asked for it: required, shadow
    reason: str  # why it was asked for
    is_required: bool  # a deploy that requires templates fails without it
    status: TemplateState
    attempts: int
    error: str | None  # of the last attempt
    created_at: datetime
    finished_at: datetime | None  # ready, or given up


def count_current_templates() -> dict[TemplateState, int]:
    """Count the templates of the versions that new runs use, by state; 0 for none. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_CURRENT)
        counted = {TemplateState(status): count for status, count in cursor.fetchall()}
    return {**dict.fromkeys(TemplateState, 0), **counted}


def list_version_templates(worker_id: str) -> list[TemplateView]:
    """Give the templates of a version by region, then preset; none were asked for: empty."""
    rows = ComputeTemplate.objects.filter(worker_id=worker_id).order_by("region", "preset")
    return [
        TemplateView(
            id=row.id,
            preset=row.preset,
            region=row.region,
            mode=row.mode,
            reason=row.reason,
            is_required=row.is_required,
            status=TemplateState(row.status),
            attempts=row.attempts,
            error=row.error,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )
        for row in rows
    ]
