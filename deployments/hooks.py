"""What higher rooms want to hear from this one. Filled once, by the process's wiring."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from django.db import transaction

VersionPromoted = Callable[[str, str], None]
"""Called with the environment's id and the id of its new current worker, after commit.

It may be called twice and may be lost with the process; the caller's reconciler covers both.
"""

version_promoted: Final[list[VersionPromoted]] = []


def announce_version(environment_id: str, worker_id: str) -> None:
    """Call every hook after commit; one that raises is logged and does not stop the others."""
    for hook in version_promoted:
        transaction.on_commit(partial(hook, environment_id, worker_id), robust=True)
