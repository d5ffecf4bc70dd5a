"""Read runs across tenants, for staff only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db.models import Q

from runs.models import TaskRun
from runs.selectors import RunView

PAGE_SIZE = 50
MAX_SEARCHED = 20_000  # runs that one page looks at; most filters have no index of their own
_SHOWN = (
    "id",
    "environment_id",
    "environment_type",
    "task_slug",
    "status",
    "execution_status",
    "worker_queue",
    "region",
    "requested_region",
    "enrollment",
    "why",
    "decided_revision",
    "created_at",
)


class AnyRunFilter(NamedTuple):
    """Which runs a list shows; None or "" is no filter."""

    environment_ids: Sequence[str] | None = None
    worker_queue: str = ""
    region: str = ""
    enrollment: str = ""
    why: str = ""
    status: str = ""  # a stored run status


class AnyRunPage(NamedTuple):
    """Runs, newest first."""

    runs: list[RunView]
    next_after: str | None  # pass as `after` for older ones; None: there are none
    is_cut: bool  # there may be older ones among those that were not looked at


def list_any_runs(
    *,
    wanted: AnyRunFilter,
    after: str | None = None,
    limit: int = PAGE_SIZE,
    searched: int = MAX_SEARCHED,
) -> AnyRunPage:
    """Give runs newest first, looking at no more than `searched` of them."""
    rows = TaskRun.objects.order_by("-id")
    if wanted.environment_ids is not None:
        rows = rows.filter(environment_id__in=wanted.environment_ids)
    if after is not None:
        rows = rows.filter(id__lt=after)
    floor = rows.values_list("id", flat=True)[searched - 1 : searched].first()
    if floor is not None:
        rows = rows.filter(id__gte=floor)
    found = list(rows.filter(_condition(wanted)).only(*_SHOWN)[: limit + 1])
    if len(found) > limit:
        return AnyRunPage(found[:limit], found[limit - 1].id, is_cut=False)
    is_cut = floor is not None and TaskRun.objects.filter(id__lt=floor).exists()
    return AnyRunPage(found, floor if is_cut else None, is_cut)


def _condition(wanted: AnyRunFilter) -> Q:
    condition = Q()
    for column in ("worker_queue", "region", "enrollment", "why", "status"):
        value = getattr(wanted, column)
        if value:
            condition &= Q(**{column: value})
    return condition
