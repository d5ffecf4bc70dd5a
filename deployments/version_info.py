"""A registered version, complete and in memory: what a trigger, a lease and an attempt say of code.

A version whose deployment is complete is immutable, so an entry never has to be dropped. One that
is still being deployed may get its image yet, and is read anew each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from django.db import connection

from deployments.manifest import clean_queue_name
from ledger.cache import BoundedCache

_Key = TypeVar("_Key")
MAX_VERSIONS: Final = 4096

_QUERY: Final = """
    SELECT worker.id, worker.environment_id, worker.version, worker.runtime,
           worker.runtime_version,
           deployment.id, deployment.short_code, deployment.image_reference,
           deployment.id IS NULL OR deployment.deployed_at IS NOT NULL,
           jsonb_path_query_array(worker.metadata, '$.queues[*].name')::text,
           (SELECT json_agg(json_build_array(task.slug, task.id, task.file_path, task.export_name,
                       task.queue_name, task.machine, task.max_attempts, task.max_duration_s,
                       task.ttl_s, task.retry))::text
            FROM deployments_workertask task WHERE task.worker_id = worker.id)
    FROM deployments_backgroundworker worker
    LEFT JOIN deployments_deployment deployment ON deployment.id = worker.deployment_id
    WHERE {condition}
"""
_BY_ID: Final = _QUERY.replace("{condition}", "worker.id = %s")
_BY_NUMBER: Final = _QUERY.replace(
    "{condition}", "worker.environment_id = %s AND worker.version = %s"
)


class UnknownVersion(LookupError):
    """There is no version of this id."""


class TaskInfo(NamedTuple):
    """A task as one version defines it."""

    id: str
    file_path: str  # inside the artifact
    export_name: str
    queue_name: str
    machine: str  # preset name
    max_attempts: int  # the first one included
    max_duration_s: int | None
    ttl_s: int | None
    retry: Mapping[str, Any] | None  # wire form; None: the default policy


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """One version of an environment's code."""

    worker_id: str
    environment_id: str
    version: str
    runtime: str | None
    runtime_version: str | None
    deployment_id: str | None  # None: registered by `crossfade dev`
    short_code: str | None
    image: str | None  # None: nothing to start a workload from
    is_final: bool  # false while it is being deployed
    tasks: Mapping[str, TaskInfo]  # by slug
    queues: frozenset[str]  # those its tasks wait in and those declared beside them


def get_version(worker_id: str) -> VersionInfo:
    """Give a version, with one query the first time, or raise `UnknownVersion`."""
    info = _kept(_BY_WORKER, worker_id)
    if info is None:
        raise UnknownVersion(worker_id)
    return info


def find_version(environment_id: str, version: str) -> VersionInfo | None:
    """Give the version of this number, with one query the first time; None when there is none."""
    return _kept(_NUMBERED, (environment_id, version))


def _kept(cache: BoundedCache[_Key, VersionInfo], key: _Key) -> VersionInfo | None:
    info = cache.get(key)
    if info is not None and not info.is_final:
        cache.drop(key)
    return info


def _load(query: str, *values: str) -> VersionInfo | None:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        row = cursor.fetchone()
    if row is None:
        return None
    worker_id, environment_id, version, runtime, runtime_version, *rest = row
    deployment_id, short_code, image, is_final, declared, tasks = rest
    infos = {slug: TaskInfo(*rest) for slug, *rest in json.loads(tasks or "[]")}
    return VersionInfo(
        worker_id=worker_id,
        environment_id=environment_id,
        version=version,
        runtime=runtime,
        runtime_version=runtime_version,
        deployment_id=deployment_id,
        short_code=short_code,
        image=image,
        is_final=is_final,
        tasks=MappingProxyType(infos),
        queues=_queues(infos, json.loads(declared)),
    )


def _queues(tasks: Mapping[str, TaskInfo], declared: list[str]) -> frozenset[str]:
    """Name a version's queues; the declared names are as they were sent."""
    return frozenset(
        {task.queue_name for task in tasks.values()} | set(map(clean_queue_name, declared))
    )


# A version may arrive at any moment: that there is none is not remembered.
_BY_WORKER: Final[BoundedCache[str, VersionInfo]] = BoundedCache(
    "versions", lambda worker_id: _load(_BY_ID, worker_id), size=MAX_VERSIONS, negative_size=0
)
_NUMBERED: Final[BoundedCache[tuple[str, str], VersionInfo]] = BoundedCache(
    "version-numbers", lambda key: _load(_BY_NUMBER, *key), size=MAX_VERSIONS, negative_size=0
)
