"""The queues a version declares, kept beside what was decided about them since.

A pause and an override are configuration: they go through the ledger. Who waits for runs is told by
its message; what the queue hands out is held to them from the moment the write is answered
(`runs/sql/limits.sql`).
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack

from django.db import connection

from deployments.models.versions import TaskQueue
from deployments.queue_selectors import QueueRef, QueueView, UnknownQueue, is_queue, view_queue
from ledger.changes import QUEUE
from ledger.ids import new_id
from ledger.services import LedgerWrite, ledger_write
from tenants.errors import Invalid, Problem
from tenants.selectors import get_environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from deployments.deployment_views import EnvironmentScope
    from deployments.manifest import QueueManifest
    from tenants.origin import Origin

# Rows come sorted by name, so that two deploys take their locks in the same order. A queue whose
# limit was overridden keeps that, and a paused one stays paused.
UPSERT_QUEUES: Final = """
    INSERT INTO deployments_taskqueue AS queue
        (id, environment_id, name, type, concurrency_limit, declared_limit, paused, created_at)
    SELECT declared.id, %(environment)s, declared.name, declared.type, declared.max, declared.max,
           false, %(now)s
    FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(limits)s::integer[])
         WITH ORDINALITY AS declared (id, name, type, max, position)
    ORDER BY declared.position
    ON CONFLICT (environment_id, name) DO UPDATE SET
        type = EXCLUDED.type,
        declared_limit = EXCLUDED.declared_limit,
        concurrency_limit = CASE WHEN queue.overridden_at IS NULL
            THEN EXCLUDED.declared_limit ELSE queue.concurrency_limit END
    WHERE queue.type IS DISTINCT FROM EXCLUDED.type
       OR queue.declared_limit IS DISTINCT FROM EXCLUDED.declared_limit
"""


def upsert_queues(*, environment_id: str, queues: Sequence[QueueManifest], now: datetime) -> None:
    """Write the declared queues of a version (sorted by name, each once) in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            UPSERT_QUEUES,
            {
                "environment": environment_id,
                "now": now,
                "ids": [new_id("queue") for _ in queues],
                "names": [queue.name for queue in queues],
                "types": [queue.type for queue in queues],
                "limits": [queue.concurrency_limit for queue in queues],
            },
        )


class LimitOverride(NamedTuple):
    """What replaces a declared limit: a number of runs, or a part of the environment's limit."""

    limit: int | None = None  # 0 or more; None: the percentage counts
    percent: float | None = None  # above 0, at most 100


def set_queue_paused(
    *,
    scope: EnvironmentScope,
    ref: QueueRef,
    paused: bool,
    now: datetime,
    **origin: Unpack[Origin],
) -> QueueView:
    """Stop handing out runs of a queue, or go on; runs under way and triggers are not concerned.

    Raise `UnknownQueue`. Pausing a paused queue changes nothing.
    """
    with ledger_write(now=now, **origin) as write:
        row = _locked_queue(scope, ref)
        _record(write, scope, row, "paused", (row.paused, paused))
        if not write.is_empty:
            row.paused = paused
            row.save(update_fields=["paused"])
    return view_queue(row)


def override_queue_limit(
    *,
    scope: EnvironmentScope,
    ref: QueueRef,
    override: LimitOverride,
    now: datetime,
    **origin: Unpack[Origin],
) -> QueueView:
    """Put a limit in the place of the declared one until `reset_queue_limit`; deploys leave it.

    A percentage follows the environment's limit. Raise `UnknownQueue`, or `Invalid` for a limit
    above the environment's.
    """
    with ledger_write(now=now, **origin) as write:
        limit = _limit_in_effect(override, get_environment(scope.environment_id).concurrency_limit)
        row = _locked_queue(scope, ref)
        _record(write, scope, row, "concurrencyOverride", (_override_of(row), _wire(override)))
        if not write.is_empty:
            _set_limit(row, limit, percent=override.percent, at=now)
    return view_queue(row)


def reset_queue_limit(
    *, scope: EnvironmentScope, ref: QueueRef, now: datetime, **origin: Unpack[Origin]
) -> QueueView:
    """Put the declared limit back in effect.

    Raise `UnknownQueue`, or `Invalid` when the limit is not overridden.
    """
    with ledger_write(now=now, **origin) as write:
        row = _locked_queue(scope, ref)
        if row.overridden_at is None:
            raise Invalid("Queue is not overridden")
        _record(write, scope, row, "concurrencyOverride", (_override_of(row), None))
        _set_limit(row, row.declared_limit, percent=None, at=None)
    return view_queue(row)


def limit_of_percent(environment_limit: int, percent: float) -> int:
    """Give a part of an environment's limit: whole runs, rounded down, at least one if it has any.

    The trigger that follows the environment's limit does the same arithmetic.

    >>> [limit_of_percent(10, percent) for percent in (0.1, 50, 99.9, 100)]
    [1, 5, 9, 10]
    """
    return min(environment_limit, max(1, floor(environment_limit * percent / 100)))


def _limit_in_effect(override: LimitOverride, environment_limit: int) -> int:
    if override.percent is not None:
        return limit_of_percent(environment_limit, override.percent)
    limit = override.limit or 0
    if limit > environment_limit:
        message = f"is above the environment's limit of {environment_limit}"
        problem = Problem("concurrencyLimit", message)
        raise Invalid(f"concurrencyLimit: {limit} {message}", (problem,))
    return limit


def _locked_queue(scope: EnvironmentScope, ref: QueueRef) -> TaskQueue:
    """Read a queue for a change; a deploy, which is no ledger write, may be changing it too."""
    condition = is_queue(scope.environment_id, ref)
    row = TaskQueue.objects.select_for_update().filter(condition).first()
    if row is None:
        raise UnknownQueue
    return row


def _override_of(row: TaskQueue) -> dict[str, Any] | None:
    if row.overridden_at is None:
        return None
    if row.override_percent is None:
        return _wire(LimitOverride(limit=row.concurrency_limit))
    return _wire(LimitOverride(percent=row.override_percent))


def _wire(override: LimitOverride) -> dict[str, Any]:
    """Give an override as the audit has it."""
    if override.percent is None:
        return {"limit": override.limit}
    return {"percent": override.percent}


def _set_limit(
    row: TaskQueue, limit: int | None, *, percent: float | None, at: datetime | None
) -> None:
    row.concurrency_limit, row.override_percent, row.overridden_at = limit, percent, at
    row.save(update_fields=["concurrency_limit", "override_percent", "overridden_at"])


def _record(
    write: LedgerWrite,
    scope: EnvironmentScope,
    row: TaskQueue,
    key: str,
    change: tuple[Any, Any],
) -> None:
    old, new = change
    write.record(scope=f"queue:{row.id}", key=key, old=old, new=new, org=scope.organization_id)
    if write.records:
        write.touch(QUEUE, row.id)
