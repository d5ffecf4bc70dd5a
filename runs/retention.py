"""Forget the runs that ended long ago.

How long a run is kept follows from the plan its organization has now; one whose plan is unknown is
kept as long as those of an enterprise. With a run go its snapshots, its log lines and its
idempotency key. Only a run that is over can be old. A batch is forgotten with its items, after the
last of its runs; a bulk action when it is as old itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from django.conf import settings
from django.db import connection

from ledger.ids import encode_ms
from runs.metrics import RECONCILED
from runs.reconciler_records import Fixed

log = structlog.get_logger(__name__)

BATCH = 200  # a run may have 10,000 lines
MAX_BATCHES = 100  # of one tick
BATCHES_AT_ONCE = 20  # one may have 1,000 items
BULK_AT_ONCE = 2  # one may have 100,000 runs

# Ids begin with the time of the trigger, so the index of an environment's runs gives the old ones
# first. A request's key is forgotten after a day, long before its run.
_FORGET = """
WITH old AS (
  SELECT r.id FROM unnest(%(plans)s::text[], %(moments)s::timestamptz[], %(ids)s::text[])
    AS kept(plan, since, since_id)
  JOIN tenants_organization o ON coalesce(o.plan, 'enterprise') = kept.plan
  JOIN tenants_environment e ON e.organization_id = o.id
  CROSS JOIN LATERAL (
    SELECT id FROM runs_taskrun WHERE environment_id = e.id AND id < kept.since_id
      AND execution_status = 'FINISHED' AND completed_at < kept.since
    ORDER BY id LIMIT %(most)s
  ) r
  LIMIT %(most)s
), gone AS (
  DELETE FROM runs_taskrun WHERE id IN (SELECT id FROM old)
  RETURNING id, environment_id, task_slug, idempotency_key
), lines AS (
  DELETE FROM runs_runlog WHERE run_id IN (SELECT id FROM gone)
), snapshots AS (
  DELETE FROM runs_runsnapshot WHERE run_id IN (SELECT id FROM gone)
), keys AS (
  DELETE FROM runs_idempotencykey k USING gone WHERE k.environment_id = gone.environment_id
    AND k.task_slug = gone.task_slug AND k.key = gone.idempotency_key AND k.run_id = gone.id
)
SELECT count(*) FROM gone
"""
# Whoever adds items to one holds the lock of its row: such a batch is not old.
_FORGET_BATCHES = """
WITH old AS (
  SELECT b.id FROM unnest(%(plans)s::text[], %(moments)s::timestamptz[], %(ids)s::text[])
    AS kept(plan, since, since_id)
  JOIN tenants_organization o ON coalesce(o.plan, 'enterprise') = kept.plan
  JOIN tenants_environment e ON e.organization_id = o.id
  CROSS JOIN LATERAL (
    SELECT id FROM runs_batch WHERE environment_id = e.id AND id < kept.since_id
      AND updated_at < kept.since
      AND NOT EXISTS (SELECT 1 FROM runs_taskrun r WHERE r.batch_id = runs_batch.id)
    ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
  ) b
  LIMIT %(most)s
), gone AS (
  DELETE FROM runs_batch WHERE id IN (SELECT id FROM old) RETURNING id
), items AS (
  DELETE FROM runs_batchitem WHERE batch_id IN (SELECT id FROM gone)
)
SELECT count(*) FROM gone
"""
_FORGET_BULK_ACTIONS = """
WITH old AS (
  SELECT a.id FROM unnest(%(plans)s::text[], %(moments)s::timestamptz[], %(ids)s::text[])
    AS kept(plan, since, since_id)
  JOIN tenants_organization o ON coalesce(o.plan, 'enterprise') = kept.plan
  JOIN runs_bulkaction a ON a.organization_id = o.id
  WHERE a.id < kept.since_id AND a.completed_at < kept.since
  LIMIT %(most)s
), gone AS (
  DELETE FROM runs_bulkaction WHERE id IN (SELECT id FROM old) RETURNING id
), items AS (
  DELETE FROM runs_bulkactionrun WHERE bulk_action_id IN (SELECT id FROM gone)
)
SELECT count(*) FROM gone
"""


class Kept(NamedTuple):
    """Since when the runs of a plan are kept."""

    plan: str
    since: datetime

    def since_id(self, prefix: str) -> str:
        """Give a text that is greater than every id of this prefix made before."""
        return f"{prefix}_{encode_ms(max(0, int(self.since.timestamp() * 1000)))}"


def kept_since(days_by_plan: Mapping[str, int], *, now: datetime) -> list[Kept]:
    """Give since when runs are kept, by plan; a plan with 0 days keeps them for ever."""
    return [Kept(plan, now - timedelta(days=days)) for plan, days in days_by_plan.items() if days]


def forget_old_runs() -> Fixed:
    """Forget the runs that are older than their plan keeps them; give how many."""
    return _forget_all("forget_old_runs", _FORGET, "run", BATCH)


def forget_old_batches() -> Fixed:
    """Forget the batches that are older than their plan keeps runs and have none left."""
    return _forget_all("forget_old_batches", _FORGET_BATCHES, "batch", BATCHES_AT_ONCE)


def forget_old_bulk_actions() -> Fixed:
    """Forget the bulk actions that ended before what their plan keeps, whatever became of runs."""
    return _forget_all("forget_old_bulk_actions", _FORGET_BULK_ACTIONS, "bulk", BULK_AT_ONCE)


def _forget_all(name: str, statement: str, prefix: str, at_once: int) -> Fixed:
    kept = kept_since(settings.ENV.retention_days, now=datetime.now(UTC))
    values = {
        "plans": [each.plan for each in kept],
        "moments": [each.since for each in kept],
        "ids": [each.since_id(prefix) for each in kept],
        "most": at_once,
    }
    forgotten = 0
    for _ in range(MAX_BATCHES if kept else 0):
        gone = _forget(statement, values)
        forgotten += gone
        if gone < at_once:
            break
    if forgotten:
        RECONCILED.labels(name).inc(forgotten)
        log.info("retention.forgot", reconciler=name, forgotten=forgotten)
    return Fixed(forgotten)


def _forget(statement: str, values: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        (gone,) = cursor.fetchone()
    return int(gone)
