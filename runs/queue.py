"""Take the next run of a worker queue.

The choice and the move are one statement: `runs/sql/dequeue.sql`. Its commit need not reach the
disk before the answer: a lease lost in a crash leaves the run ready as before, and the snapshot id
that was handed out is then unknown, so nobody can start an attempt with it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from ledger.ids import new_id
from runs.metrics import DEQUEUED

MAX_PASSES: Final = 8
"""How often one look goes on where a call stopped at its bound; the next look goes on from it."""

_NEXT: Final = "SELECT run, busy, more FROM runs_dequeue(%s, %s, %s, %s, %s, %s, %s)"
_WAITING: Final = "SELECT run, more FROM runs_dequeue_waiting(%s, %s, %s, %s, %s, %s, %s, %s)"


class DequeueCall(NamedTuple):
    """Who asks for a run, and which."""

    worker_queue: str
    worker_group_id: str | None  # None in development
    worker_instance: str
    request_key: str | None  # the same on every repeat of one request
    machines: list[str] | None  # presets that fit; None: any
    lease_ms: int


def lease_next(call: DequeueCall) -> str | None:
    """Lease the next run and give its id, or None when nothing may be taken now.

    Several environments may be served by others, of which one is waited for: when it turns out to
    have nothing, the look begins anew, since the rest of them may have runs.
    """
    run_id: str | None = None
    for _ in range(MAX_PASSES):
        run_id, busy, more = _take(_NEXT, call, ())
        if run_id is None and busy is not None:
            run_id, _ = _take(_WAITING, call, (busy,))
            more = True
        if run_id is not None or not more:
            break
    if run_id is not None:
        DEQUEUED.labels(call.worker_queue).inc()
    return run_id


def _take(statement: str, call: DequeueCall, environment: tuple[str, ...]) -> tuple[Any, ...]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(
            statement,
            (
                call.worker_queue,
                *environment,
                call.machines,
                new_id("snapshot"),
                call.worker_group_id,
                call.worker_instance,
                call.request_key,
                call.lease_ms,
            ),
        )
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def list_leased(request_key: str, worker_group_id: str | None, worker_queue: str) -> list[str]:
    """Give the runs that this very request leased before and nobody has started since."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT l.run_id FROM runs_lease l JOIN runs_taskrun r ON r.id = l.run_id
            WHERE l.request_key = %s AND l.worker_group_id IS NOT DISTINCT FROM %s
              AND r.worker_queue = %s AND r.execution_status = 'PENDING_EXECUTING'
            ORDER BY l.due_at, l.run_id
            """,
            [request_key, worker_group_id, worker_queue],
        )
        return [row[0] for row in cursor.fetchall()]
