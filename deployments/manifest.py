"""What a version brings: its tasks and queues, checked and with every default in place.

Pure values. The edge makes them from a request; `deployments/registration.py` stores them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_MAX_ATTEMPTS: Final = 3
MAX_QUEUE_NAME: Final = 128
NOT_IN_QUEUE_NAMES: Final = re.compile(r"[^A-Za-z0-9_\-/]")

QueueType = Literal["task", "custom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueManifest:
    """A queue that a version declares."""

    name: str
    type: QueueType = "custom"
    concurrency_limit: int | None = None  # None: only the environment's limit


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskManifest:
    """A task that a version defines."""

    slug: str
    file_path: str  # inside the artifact
    export_name: str
    description: str | None = None
    queue_name: str | None = None  # None: its own queue
    queue_concurrency_limit: int | None = None  # of the queue above, declared with the task
    machine: str
    retry: Mapping[str, Any] | None = None  # wire form; None: the default policy
    max_attempts: int = DEFAULT_MAX_ATTEMPTS  # the first one included
    max_duration_s: int | None = None
    ttl_s: int | None = None

    @property
    def queue(self) -> QueueManifest:
        """The queue this task's runs wait in unless a trigger says otherwise."""
        own = own_queue_name(self.slug)
        name = clean_queue_name(self.queue_name or "") or own
        return QueueManifest(
            name=name,
            type="task" if name == own else "custom",
            concurrency_limit=self.queue_concurrency_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionManifest:
    """All that is registered with a version."""

    content_hash: str
    package_version: str
    tasks: tuple[TaskManifest, ...]
    queues: tuple[QueueManifest, ...] = ()  # declared beside the tasks
    runtime: str | None = None
    runtime_version: str | None = None
    metadata: Mapping[str, Any]  # as it was sent


def own_queue_name(slug: str) -> str:
    """Give the name of a task's own queue."""
    return f"task/{slug}"


def clean_queue_name(text: str) -> str:
    """Give a queue name as it is stored: unknown characters dropped, cut to 128.

    >>> clean_queue_name("e-mail queue!")
    'e-mailqueue'
    """
    return NOT_IN_QUEUE_NAMES.sub("", text)[:MAX_QUEUE_NAME]


def queues_of(manifest: VersionManifest) -> tuple[QueueManifest, ...]:
    """Give each queue of a version once, sorted by name.

    A limit declared beside the tasks wins over one declared with a task, and any limit over none.
    """
    declared = [
        QueueManifest(name=clean_queue_name(q.name), concurrency_limit=q.concurrency_limit)
        for q in manifest.queues
    ]
    merged: dict[str, QueueManifest] = {}
    for queue in (*(task.queue for task in manifest.tasks), *declared):
        merged[queue.name] = _merged(merged.get(queue.name), queue)
    return tuple(merged[name] for name in sorted(merged))


def _merged(before: QueueManifest | None, queue: QueueManifest) -> QueueManifest:
    if before is None:
        return queue
    later, earlier = queue.concurrency_limit, before.concurrency_limit
    return QueueManifest(
        name=queue.name,
        type="task" if "task" in {before.type, queue.type} else "custom",
        concurrency_limit=earlier if later is None else later,
    )


def duplicates(names: Iterable[str]) -> list[str]:
    """Give the names that appear more than once, sorted."""
    seen: set[str] = set()
    again: set[str] = set()
    for name in names:
        (again if name in seen else seen).add(name)
    return sorted(again)
