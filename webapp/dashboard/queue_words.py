"""What pages say about queues. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from deployments.queue_selectors import QueueView

TASK_PREFIX: Final = "task/"


def queue_name(queue: QueueView) -> str:
    """Give what a queue is called: a task's own by the task."""
    return queue.name.removeprefix(TASK_PREFIX) if queue.type == "task" else queue.name


def limit_text(limit: int | None) -> str:
    """Give how many runs a queue executes at once.

    >>> limit_text(None), limit_text(1)
    ('as many as the environment', 'at most 1 run')
    """
    return "as many as the environment" if limit is None else f"at most {count_text(limit, 'run')}"


def sentence(total: int, paused: int) -> str:
    """Give the first line of the page.

    >>> sentence(0, 0), sentence(3, 0), sentence(3, 1)
    ('There is no queue yet', '3 queues, none of them paused', '1 of 3 queues is paused')
    """
    if not total:
        return "There is no queue yet"
    if not paused:
        return f"{count_text(total, 'queue')}, {'not' if total == 1 else 'none of them'} paused"
    return f"{paused:,} of {count_text(total, 'queue')} {'is' if paused == 1 else 'are'} paused"
