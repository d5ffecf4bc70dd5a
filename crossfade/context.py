"""`ctx`: what a task is told about the run, attempt and place it executes in."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from crossfade.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

EnvironmentType = Literal["PRODUCTION", "STAGING", "PREVIEW", "DEVELOPMENT"]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run. `max_attempts` includes the first; `max_duration_s` is seconds an attempt."""

    id: str
    created_at: datetime
    tags: tuple[str, ...] = ()
    is_test: bool = False
    is_replay: bool = False
    version: str | None = None
    max_attempts: int | None = None
    max_duration_s: float | None = None
    idempotency_key: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """This try of the run; `number` counts from 1."""

    number: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """The task and where its code is, relative to the deployed folder."""

    id: str
    file_path: str = ""
    export_name: str = ""


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """The customer's line that the run waited in."""

    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentInfo:
    """The environment: `slug` is prod, stg, preview or dev."""

    id: str
    type: EnvironmentType
    slug: str


@dataclass(frozen=True, slots=True)
class OrganizationInfo:
    """The organization that the run belongs to."""

    id: str
    slug: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """The project that the run belongs to."""

    id: str
    ref: str | None = None
    slug: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """What the run may use: cores and GB."""

    name: str
    cpu: float
    memory_gb: float


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a task may know about its run. `region` is geography, unset in development."""

    run: RunInfo
    attempt: AttemptInfo
    task: TaskInfo
    queue: QueueInfo
    environment: EnvironmentInfo
    organization: OrganizationInfo
    project: ProjectInfo
    region: str | None = None
    machine: MachineInfo | None = None
    metadata: Metadata = field(default_factory=Metadata)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("crossfade.task"))


class _Current:
    """The context of the attempt this process executes; one at a time."""

    ctx: Context | None = None


@contextmanager
def entered(ctx: Context) -> Iterator[None]:
    """Make `ctx` the current one while its task runs."""
    _Current.ctx = ctx
    try:
        yield
    finally:
        _Current.ctx = None


def current_context() -> Context | None:
    """Give the context of the task this process is executing, or None outside of one."""
    return _Current.ctx
