"""Reading queues, always within one environment. Only frozen values leave this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from django.db.models import Q

from deployments.manifest import own_queue_name
from deployments.models.versions import TaskQueue
from tenants.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

RefType = Literal["id", "task", "custom"]

_OWN: Final = own_queue_name("")


class QueueRef(NamedTuple):
    """How a caller names a queue: by its id, or by its kind and name."""

    type: RefType
    value: str  # an id, the id of a task, or the name of a custom queue


class QueueView(NamedTuple):
    """A queue, what its versions declare and what was decided about it."""

    id: str
    name: str  # as stored: task/<id> for a task's own
    type: str  # task or custom
    paused: bool
    limit: int | None  # in effect; None: only the environment's
    declared_limit: int | None  # of the newest version
    overridden_at: datetime | None  # None: the declared limit is in effect


class QueuePage(NamedTuple):
    """Queues by name."""

    rows: tuple[QueueView, ...]
    total: int  # of all pages


class PlacedQueue(NamedTuple):
    """A queue and whose it is."""

    environment_id: str
    queue: QueueView


class PlacedQueues(NamedTuple):
    """Queues of several environments, by name."""

    rows: tuple[PlacedQueue, ...]
    total: int  # of all pages
    paused: int  # of all pages


class UnknownQueue(NotFound):
    """No version of the caller's environment has declared such a queue."""

    def __init__(self) -> None:
        super().__init__("queue-not-found")


def get_queue(*, environment_id: str, ref: QueueRef) -> QueueView:
    """Give a queue, or raise `UnknownQueue`."""
    row = TaskQueue.objects.filter(is_queue(environment_id, ref)).first()
    if row is None:
        raise UnknownQueue
    return view_queue(row)


def get_queue_environment_id(queue_id: str) -> str:
    """Give the environment of any tenant's queue, or raise `UnknownQueue`; for staff only."""
    row = TaskQueue.objects.filter(id=queue_id).values_list("environment_id", flat=True).first()
    if row is None:
        raise UnknownQueue
    return row


def list_queues(*, environment_id: str, page: int, size: int) -> QueuePage:
    """Give a page of an environment's queues by name; the first page is 1."""
    rows = TaskQueue.objects.filter(environment_id=environment_id).order_by("name")
    start = (page - 1) * size
    return QueuePage(tuple(view_queue(row) for row in rows[start : start + size]), rows.count())


def list_placed_queues(*, environment_ids: Sequence[str], page: int, size: int) -> PlacedQueues:
    """Give a page of the queues of several environments, by name; the first page is 1."""
    rows = TaskQueue.objects.filter(environment_id__in=environment_ids).order_by("name", "id")
    start = (page - 1) * size
    shown = tuple(PlacedQueue(row.environment_id, view_queue(row)) for row in rows[start:][:size])
    return PlacedQueues(shown, rows.count(), rows.filter(paused=True).count())


def get_placed_queue(*, environment_ids: Sequence[str], queue_id: str) -> PlacedQueue:
    """Give a queue of one of these environments, or raise `UnknownQueue`."""
    row = TaskQueue.objects.filter(environment_id__in=environment_ids, id=queue_id).first()
    if row is None:
        raise UnknownQueue
    return PlacedQueue(row.environment_id, view_queue(row))


def is_queue(environment_id: str, ref: QueueRef) -> Q:
    """Give the condition that finds a queue; a task's own is also found by its stored name."""
    if ref.type == "id":
        return Q(environment_id=environment_id, id=ref.value)
    name = own_queue_name(ref.value.removeprefix(_OWN)) if ref.type == "task" else ref.value
    return Q(environment_id=environment_id, name=name)


def view_queue(row: TaskQueue) -> QueueView:
    """Give the value of a row."""
    return QueueView(
        row.id,
        row.name,
        row.type,
        row.paused,
        row.concurrency_limit,
        row.declared_limit,
        row.overridden_at,
    )
