"""What has become of compute templates, for whoever goes on with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models.functions import Now

from deployments.models.templates import ComputeTemplate
from deployments.template_results import PresetState
from deployments.template_states import TemplateState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deployments.compute_templates import Presets

NEVER_BUILT: Final = "not built yet"

TemplateVersion = tuple[str, str]
"""The id of a version's worker, and a region."""

TemplateKey = tuple[str, str]
"""A preset and a region."""


def preset_states(
    worker_id: str, regions: Iterable[str], presets: Presets
) -> tuple[PresetState, ...]:
    """Give what has become of a version's templates for these machines in these regions."""
    rows = ComputeTemplate.objects.filter(
        worker_id=worker_id, region__in=tuple(regions), preset__in=presets.names
    )
    return tuple(
        PresetState(row.preset, row.region, row.is_required, _error_of(row))
        for row in rows.order_by("region", "preset")
    )


def unfinished_regions(worker_id: str, regions: Iterable[str]) -> tuple[str, ...]:
    """Give the regions in which required presets of a version are still to be built."""
    rows = ComputeTemplate.objects.filter(
        worker_id=worker_id,
        region__in=tuple(regions),
        status__in=[TemplateState.PENDING, TemplateState.BUILDING],
        is_required=True,
    )
    return tuple(sorted(set(rows.values_list("region", flat=True))))


def find_due() -> TemplateVersion | None:
    """Find what has waited longest to be asked for; None: nothing is due."""
    due = ComputeTemplate.objects.filter(status=TemplateState.PENDING, next_attempt_at__lte=Now())
    return due.order_by("next_attempt_at").values_list("worker_id", "region").first()


def list_templates_of(worker_ids: Iterable[str]) -> frozenset[tuple[str, TemplateKey]]:
    """Give which templates these versions have, in whatever state."""
    rows = ComputeTemplate.objects.filter(worker_id__in=tuple(worker_ids))
    listed = rows.values_list("worker_id", "preset", "region")
    return frozenset((worker_id, (preset, region)) for worker_id, preset, region in listed)


def _error_of(row: ComputeTemplate) -> str | None:
    return None if row.status == TemplateState.READY else row.public_error or NEVER_BUILT
