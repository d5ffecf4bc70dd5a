"""What higher rooms want to hear from this one. Filled once, by the process's wiring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db import transaction

VersionPromoted = Callable[[str, str], None]
"""Called with the environment's id and the id of its new current worker, after commit.

It may be called twice and may be lost with the process; the caller's reconciler covers both.
"""

TemplatesRequested = Callable[[str, str], None]
"""Called with a version's worker id and a region whose templates are due, after commit; as above.
"""

templates_requested: Final[list[TemplatesRequested]] = []
version_promoted: Final[list[VersionPromoted]] = []


def announce_version(environment_id: str, worker_id: str) -> None:
    """Call every hook after commit; one that raises is logged and does not stop the others."""
    for hook in version_promoted:
        _after_commit(hook, environment_id, worker_id)


def announce_templates(worker_id: str, region: str) -> None:
    """Call every hook after commit; one that raises is logged and does not stop the others."""
    for hook in templates_requested:
        _after_commit(hook, worker_id, region)


def _after_commit(hook: Callable[[str, str], None], *said: str) -> None:
    # A function and no partial: Django logs the name of one that raises.
    def call() -> None:
        hook(*said)

    transaction.on_commit(call, robust=True)
