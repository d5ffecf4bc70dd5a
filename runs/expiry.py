"""End the runs that waited longer than their ttl.

A ttl counts while a run waits to be handed out for the first time. A dequeue looks at it again, so
a run that is over is given to nobody, also while this is late.
"""

from __future__ import annotations

from collections import defaultdict

import structlog
from django.db import connection

from ledger.ids import new_id
from runs.metrics import MOVES, RECONCILED
from runs.reconciler_records import Fixed
from runs.states import Event

log = structlog.get_logger(__name__)

BATCH = 500
MAX_BATCHES = 20  # of one tick

_OVER = """
SELECT id, environment_id FROM runs_taskrun WHERE ttl_ends_at <= now()
ORDER BY ttl_ends_at LIMIT %s
"""


def expire_waiting_runs() -> Fixed:
    """End the runs whose ttl is over, those that wait longest first; give how many."""
    found = expired = 0
    for _ in range(MAX_BATCHES):
        over = _list_over()
        ended = sum(_expire(environment_id, run_ids) for environment_id, run_ids in over.items())
        found += sum(map(len, over.values()))
        expired += ended
        if ended < BATCH:
            break
    if expired:
        RECONCILED.labels("expire_waiting_runs").inc(expired)
        MOVES.labels(Event.EXPIRE.value).inc(expired)
        log.info("reconciler.fixed", reconciler="expire_waiting_runs", fixed=expired)
    return Fixed(expired, found=found)


def _list_over() -> dict[str, list[str]]:
    """Give the next runs by environment."""
    over: dict[str, list[str]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_OVER, [BATCH])
        for run_id, environment_id in cursor.fetchall():
            over[environment_id].append(run_id)
    return over


def _expire(environment_id: str, run_ids: list[str]) -> int:
    """Expire those that still wait, in one statement; what moved meanwhile is left alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT runs_expire_waiting(%s, %s, %s)",
            [environment_id, run_ids, [new_id("snapshot") for _ in run_ids]],
        )
        (expired,) = cursor.fetchone()
    return int(expired)
