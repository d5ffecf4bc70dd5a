"""Which runs are meant. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple


class RunFilter(NamedTuple):
    """Which runs a list shows; an empty sequence or None is no filter."""

    statuses: Sequence[str] = ()  # run statuses, stored names
    tasks: Sequence[str] = ()
    tags: Sequence[str] = ()  # any of
    regions: Sequence[str] = ()
    queues: Sequence[str] = ()  # stored names: task/<id> for a task's own
    versions: Sequence[str] = ()
    machines: Sequence[str] = ()
    batches: Sequence[str] = ()  # the runs these made; not those that were there already
    bulk_actions: Sequence[str] = ()  # the runs these canceled, or made
    is_test: bool | None = None
    created_from: datetime | None = None  # included
    created_to: datetime | None = None  # included
