"""The one statement of a trigger: run, first snapshot, place, idempotency. Pure text.

A trigger is a single statement in autocommit, so it costs one round trip and is all or nothing.
Which rows and columns it writes depends on what the call has; each combination is one prepared
statement.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Place = Literal["ready", "delayed", "version"]

RUN_COLUMNS: tuple[str, ...] = (
    "id",
    "environment_id",
    "project_id",
    "organization_id",
    "environment_type",
    "plan",
    "task_slug",
    "status",
    "execution_status",
    "snapshot_id",
    "worker_queue",
    "region",
    "requested_region",
    "enrollment",
    "why",
    "decided_revision",
    "queue_name",
    "concurrency_key",
    "lane_id",
    "score",
    "priority_ms",
    "delay_until",
    "ttl",
    "ttl_s",
    "first_queued_at",
    "ttl_ends_at",
    "payload",
    "payload_type",
    "metadata",
    "metadata_type",
    "seed_metadata",
    "tags",
    "machine",
    "max_attempts",
    "max_duration_s",
    "is_test",
    "trigger_function",
    "trigger_source",
    "depth",
    "parent_run_id",
    "root_run_id",
    "replay_of_id",
    "idempotency_key",
    "idempotency_key_shown",
    "idempotency_key_expires_at",
    "locked_version",
    "worker_id",
    "version",
    "created_at",
    "updated_at",
)
# Columns that are left out of the statement when they have no value: the fewer parameters travel,
# the less a trigger costs on both sides. None of them is named by the statement's other parts.
OPTIONAL_COLUMNS: frozenset[str] = frozenset(
    {
        "plan",
        "region",
        "requested_region",
        "decided_revision",
        "ttl",
        "ttl_s",
        "first_queued_at",
        "ttl_ends_at",
        "payload",
        "metadata",
        "seed_metadata",
        "machine",
        "max_attempts",
        "max_duration_s",
        "parent_run_id",
        "root_run_id",
        "replay_of_id",
        "idempotency_key_shown",
        "locked_version",
        "worker_id",
        "version",
    }
)
KEPT_STATEMENTS = 256
# Columns every new run starts with.
STARTS_WITH: dict[str, str] = {
    "attempt_number": "0",
    "dispatch_number": "0",
    "deliveries": "0",
    "usage_ms": "0",
}

_REQUEST = """request AS (
  INSERT INTO runs_requestkey (environment_id, task_slug, key, run_id, created_at)
  VALUES (%(environment_id)s, %(task_slug)s, %(request_key)s, %(id)s, %(created_at)s)
  ON CONFLICT (environment_id, task_slug, key) DO UPDATE
    SET run_id = EXCLUDED.run_id, created_at = EXCLUDED.created_at
    WHERE runs_requestkey.created_at < EXCLUDED.created_at - interval '24 hours'
  RETURNING 1)"""
_CLAIM = """claim AS (
  INSERT INTO runs_idempotencykey (environment_id, task_slug, key, run_id, expires_at)
  SELECT %(environment_id)s, %(task_slug)s, %(idempotency_key)s, %(id)s,
         %(idempotency_key_expires_at)s{source}
  ON CONFLICT (environment_id, task_slug, key) DO UPDATE
    SET run_id = EXCLUDED.run_id, expires_at = EXCLUDED.expires_at
    WHERE runs_idempotencykey.expires_at <= %(created_at)s
  RETURNING 1)"""
_RUN = """run AS (
  INSERT INTO runs_taskrun ({columns}) SELECT {values}{source} RETURNING id)"""
_SNAPSHOT = """snapshot AS (
  INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description,
    is_valid, created_at)
  SELECT id, %(snapshot_id)s, %(execution_status)s, %(status)s, 'trigger', 'Triggered', true,
    %(created_at)s FROM run)"""
_PLACES: dict[Place, str] = {
    "ready": """place AS (
  INSERT INTO runs_readyentry (lane_id, score, run_id)
  SELECT %(lane_id)s, %(score)s, id FROM run)""",
    "delayed": """place AS (
  INSERT INTO runs_delayedentry (run_id, due_at) SELECT id, %(delay_until)s FROM run)""",
    "version": """place AS (
  INSERT INTO runs_versionwait (run_id, environment_id, task_slug)
  SELECT id, %(environment_id)s, %(task_slug)s FROM run)""",
}
_OPEN_LANE = """SELECT run.id, runs_open_lane(%(lane_id)s, %(worker_queue)s, %(environment_id)s,
  %(queue_name)s, %(concurrency_key)s) FROM run"""


def given_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parameters of a run's statement: optional columns without value are left out."""
    return {
        name: value
        for name, value in row.items()
        if value is not None or name not in OPTIONAL_COLUMNS
    }


def trigger_statement(
    place: Place, given: Mapping[str, Any], *, has_key: bool, has_request_key: bool
) -> str:
    """Give the statement for the parameters that `given_columns` gave.

    It returns the new run's id, or no row when a key is taken.

    Rule: the request key is claimed first, then the idempotency key, then the run is written; a
    step is skipped when the one before it found its key taken.
    """
    return _statement(place, tuple(given), has_key=has_key, has_request_key=has_request_key)


@lru_cache(maxsize=KEPT_STATEMENTS)
def _statement(
    place: Place, given: tuple[str, ...], *, has_key: bool, has_request_key: bool
) -> str:
    parts, source = [], ""
    if has_request_key:
        parts.append(_REQUEST)
        source = " FROM request"
    if has_key:
        parts.append(_CLAIM.format(source=source))
        source = " FROM claim"
    columns = [name for name in RUN_COLUMNS if name in given]
    values = [f"%({name})s" for name in columns] + list(STARTS_WITH.values())
    parts.append(
        _RUN.format(
            columns=", ".join((*columns, *STARTS_WITH)), values=", ".join(values), source=source
        )
    )
    parts += [_SNAPSHOT, _PLACES[place]]
    last = _OPEN_LANE if place == "ready" else "SELECT id FROM run"
    return "WITH " + ",\n".join(parts) + "\n" + last
