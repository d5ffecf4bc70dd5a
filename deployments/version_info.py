"""A registered version, complete and in memory: what a lease and an attempt say about the code.

Versions are immutable, so an entry never has to be dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from django.db import connection

MAX_VERSIONS: Final = 4096

_QUERY: Final = """
    SELECT worker.id, worker.environment_id, worker.version, worker.runtime,
           worker.runtime_version,
           deployment.id, deployment.short_code, deployment.image_reference,
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
    tasks: Mapping[str, TaskInfo]  # by slug


@lru_cache(maxsize=MAX_VERSIONS)
def get_version(worker_id: str) -> VersionInfo:
    """Give a version, with one query the first time, or raise `UnknownVersion`."""
    info = _load(_BY_ID, [worker_id])
    if info is None:
        raise UnknownVersion(worker_id)
    return info


def find_version(environment_id: str, version: str) -> VersionInfo | None:
    """Give the version of this number in an environment, None when there is none."""
    return _load(_BY_NUMBER, [environment_id, version])


def _load(query: str, values: list[str]) -> VersionInfo | None:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        row = cursor.fetchone()
    if row is None:
        return None
    worker_id, environment_id, version, runtime, runtime_version, *rest = row
    deployment_id, short_code, image, tasks = rest
    return VersionInfo(
        worker_id=worker_id,
        environment_id=environment_id,
        version=version,
        runtime=runtime,
        runtime_version=runtime_version,
        deployment_id=deployment_id,
        short_code=short_code,
        image=image,
        tasks=MappingProxyType(
            {slug: TaskInfo(*rest) for slug, *rest in json.loads(tasks or "[]")}
        ),
    )
