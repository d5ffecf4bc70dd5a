"""What has become of compute templates, for whoever goes on with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deployments.models.templates import ComputeTemplate
from deployments.template_results import PresetState
from deployments.template_states import TemplateState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deployments.compute_templates import Presets

NEVER_BUILT: Final = "not built yet"

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


def list_templates_of(worker_ids: Iterable[str]) -> frozenset[tuple[str, TemplateKey]]:
    """Give which templates these versions have, in whatever state."""
    rows = ComputeTemplate.objects.filter(worker_id__in=tuple(worker_ids))
    listed = rows.values_list("worker_id", "preset", "region")
    return frozenset((worker_id, (preset, region)) for worker_id, preset, region in listed)


def _error_of(row: ComputeTemplate) -> str | None:
    return None if row.status == TemplateState.READY else row.public_error or NEVER_BUILT
