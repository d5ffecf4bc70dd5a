"""Read runs across tenants, for staff only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.db.models import Q

from ledger.ids import encode_ms
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


# By the primary key, whose order is that of time: it costs what the limit says, whatever there is.
_RECENT = """
SELECT worker_queue, count(*)::int FROM (
  SELECT worker_queue FROM runs_taskrun WHERE id >= %s ORDER BY id DESC LIMIT %s
) AS recent GROUP BY worker_queue
"""


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


def count_recent_runs(*, since: datetime, limit: int = MAX_SEARCHED) -> dict[str, int]:
    """Count the runs made since then by worker queue, the newest `limit` of them. One query."""
    floor = f"run_{encode_ms(int(since.timestamp() * 1000))}"
    with connection.cursor() as cursor:
        cursor.execute(_RECENT, [floor, limit])
        return dict(cursor.fetchall())


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
