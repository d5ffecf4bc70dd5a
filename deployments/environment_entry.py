"""What a trigger needs to know of an environment's code and routing, kept in memory.

One query on a miss; dropped by id when the environment, its current version or its project's
routing changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import connection

from ledger.cache import BoundedCache
from ledger.changes import ALL, ENVIRONMENT, PROJECT, VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHED_ENTRIES: Final = 20_000
KINDS: Final = (VERSION, PROJECT, ENVIRONMENT)
"""The kinds of changes that `drop_changed` wants to hear of."""

# A task is an array, in the order of `TaskSettings`, behind its slug.
ENTRY_QUERY: Final = """
    SELECT environment.project_id, worker.id, worker.version,
           routing.default_group_id, routing.allowed_queues,
           (SELECT json_agg(json_build_array(task.slug, task.queue_name, task.machine,
                       task.max_attempts, task.max_duration_s, task.ttl_s, task.retry))::text
            FROM deployments_workertask task WHERE task.worker_id = worker.id),
           (SELECT json_agg(json_build_array(template.preset, template.region))::text
            FROM deployments_computetemplate template
            WHERE template.worker_id = worker.id AND template.status = 'READY')
    FROM tenants_environment environment
    LEFT JOIN deployments_currentversion current ON current.environment_id = environment.id
    LEFT JOIN deployments_backgroundworker worker ON worker.id = current.worker_id
    LEFT JOIN deployments_projectrouting routing ON routing.project_id = environment.project_id
    WHERE environment.id = %s
"""


class TaskSettings(NamedTuple):
    """A task as the current version defines it; a trigger's options go before these."""

    queue_name: str
    machine: str  # preset name
    max_attempts: int  # the first one included
    max_duration_s: int | None  # None: no limit
    ttl_s: int | None  # None: a run waits as long as it takes
    retry: Mapping[str, Any] | None  # wire form; None: the default policy


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentEntry:
    """The current version of an environment and the routing of its project."""

    environment_id: str
    project_id: str
    worker_id: str | None  # None: nothing has been deployed
    version: str | None
    tasks: Mapping[str, TaskSettings]  # by slug
    default_group_id: str | None  # the project's own default; None: the global one
    allowed_queues: tuple[str, ...]  # worker queues; empty: not restricted
    # Of the current version: machine preset -> regions of the backings it has a template for.
    ready: Mapping[str, frozenset[str]] = field(default_factory=dict)


class UnknownEnvironment(LookupError):
    """There is no environment of this id."""


def entry_for(environment_id: str) -> EnvironmentEntry:
    """Give the environment's entry, from memory when it is there.

    Raise `UnknownEnvironment`; an id comes from a credential, so that means it was deleted.
    """
    entry = ENTRIES.get(environment_id)
    if entry is None:
        raise UnknownEnvironment(environment_id)
    return entry


def refresh(environment_id: str) -> EnvironmentEntry:
    """Read the environment's entry anew, or raise `UnknownEnvironment`."""
    ENTRIES.drop(environment_id)
    return entry_for(environment_id)


def drop_changed(kind: str, subject: str) -> None:
    """Forget the entries that a change is about. `webapp/wiring.py` subscribes it to the feed."""
    if subject == ALL:
        ENTRIES.clear()
    elif kind == PROJECT:
        ENTRIES.drop_where(lambda _id, entry: entry.project_id == subject)
    else:
        ENTRIES.drop(subject)


def load_entry(environment_id: str) -> EnvironmentEntry | None:
    """Read an environment's entry with one query; None when there is no such environment."""
    with connection.cursor() as cursor:
        cursor.execute(ENTRY_QUERY, [environment_id])
        row = cursor.fetchone()
    if row is None:
        return None
    project_id, worker_id, version, default_group_id, allowed_queues, tasks, ready = row
    settings = {slug: TaskSettings(*values) for slug, *values in json.loads(tasks or "[]")}
    return EnvironmentEntry(
        environment_id=environment_id,
        project_id=project_id,
        worker_id=worker_id,
        version=version,
        tasks=MappingProxyType(settings),
        default_group_id=default_group_id,
        allowed_queues=tuple(allowed_queues or ()),
        ready=_ready(json.loads(ready or "[]")),
    )


def _ready(pairs: list[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    presets = {preset for preset, _ in pairs}
    return {
        preset: frozenset(region for other, region in pairs if other == preset)
        for preset in presets
    }


ENTRIES: Final[BoundedCache[str, EnvironmentEntry]] = BoundedCache(
    "environment-entries", load_entry, size=CACHED_ENTRIES
)
