"""Reads of worker groups and routing. Only frozen values leave this module."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Count, Max

from deployments.models.groups import ProjectRouting, WorkerInstance, WorkerInstanceGroup
from deployments.regions import GroupRow
from ledger.cache import BoundedCache
from ledger.changes import ALL
from tenants.crypto import MAX_SECRET_CHARS, hash_secret
from tenants.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

CACHED_TOKENS = 1000

_COLUMNS = (
    "id",
    "type",
    "name",
    "master_queue",
    "region",
    "workload_type",
    "hidden",
    "priority",
    "project_id",
    "enable_fast_path",
)  # in the order of `GroupRow`


class WorkerGroupView(NamedTuple):
    """A worker group as staff see it."""

    row: GroupRow
    description: str | None
    location: str | None
    has_run_history: bool
    supervisors: int  # that ever connected
    last_heartbeat_at: datetime | None  # of any of them
    created_at: datetime


class RoutingView(NamedTuple):
    """Where a project's runs go."""

    default_group_id: str | None
    allowed_queues: tuple[str, ...]  # empty: not restricted


class CachedToken(NamedTuple):
    """A worker group as its token finds it."""

    group: GroupRow
    sha256: str


def list_group_rows() -> list[GroupRow]:
    """Give all worker groups, of every project and hidden ones too. One query."""
    return [GroupRow(*row) for row in WorkerInstanceGroup.objects.values_list(*_COLUMNS)]


def find_group_by_token(token: str) -> GroupRow | None:
    """Find the worker group of a token: one query when it is not known yet, none when it is."""
    if len(token) > MAX_SECRET_CHARS:
        return None
    digest = hash_secret(token)
    entry = TOKENS.get(digest)
    if entry is None or not compare_digest(entry.sha256, digest):
        return None
    return entry.group


def find_group_by_queue(queue: str) -> GroupRow | None:
    """Find a worker group by the worker queue it drains."""
    row = WorkerInstanceGroup.objects.filter(master_queue=queue).values_list(*_COLUMNS).first()
    return None if row is None else GroupRow(*row)


def drop_changed_tokens(_kind: str, subject: str) -> None:
    """Forget the tokens of a group that changed, and tokens that were not found so far."""
    TOKENS.drop_where(lambda _digest, entry: subject in (ALL, entry.group.id))


def list_worker_groups() -> list[WorkerGroupView]:
    """Give all worker groups by priority, then name, with what is known of their supervisors."""
    rows = WorkerInstanceGroup.objects.order_by("priority", "name", "id")
    supervisors = _supervisors_by_group()
    return [_view(row, supervisors.get(row.id, (0, None))) for row in rows]


def get_worker_group(group_id: str) -> WorkerGroupView:
    """Give a worker group, or raise `NotFound`."""
    row = WorkerInstanceGroup.objects.filter(id=group_id).first()
    if row is None:
        raise NotFound("Worker group not found")
    return _view(row, _supervisors_by_group().get(row.id, (0, None)))


def get_routing(project_id: str) -> RoutingView:
    """Give where a project's runs go; a project nobody set up has no default and no limits."""
    row = ProjectRouting.objects.filter(project_id=project_id).first()
    if row is None:
        return RoutingView(None, ())
    return RoutingView(row.default_group_id, tuple(row.allowed_queues))


def list_routings(project_ids: Iterable[str]) -> dict[str, RoutingView]:
    """Give where these projects' runs go, by project, those that somebody set up. One query."""
    rows = ProjectRouting.objects.filter(project_id__in=set(project_ids))
    return {
        row.project_id: RoutingView(row.default_group_id, tuple(row.allowed_queues)) for row in rows
    }


def _supervisors_by_group() -> dict[str, tuple[int, datetime | None]]:
    found = WorkerInstance.objects.order_by().values_list("group_id")
    counted = found.annotate(count=Count("id"), newest=Max("last_heartbeat_at"))
    return {group_id: (count, newest) for group_id, count, newest in counted}


def _view(row: WorkerInstanceGroup, supervisors: tuple[int, datetime | None]) -> WorkerGroupView:
    count, newest = supervisors
    return WorkerGroupView(
        row=GroupRow(*(getattr(row, column) for column in _COLUMNS)),
        description=row.description,
        location=row.location,
        has_run_history=row.has_run_history,
        supervisors=count,
        last_heartbeat_at=newest,
        created_at=row.created_at,
    )


def _load_token(digest: str) -> CachedToken | None:
    columns = WorkerInstanceGroup.objects.filter(token_sha256=digest).values_list(*_COLUMNS)
    row = columns.first()
    return None if row is None else CachedToken(GroupRow(*row), digest)


TOKENS: BoundedCache[str, CachedToken] = BoundedCache(
    "worker-tokens", _load_token, size=CACHED_TOKENS
)
