"""The statement of triggers of one environment that came at once and are ready to run. Pure.

It writes what each of them would write alone (`runs/trigger_statement.py`). Two kinds are kept
apart, so that there are few statements to prepare: either the triggers differ in nothing but what
is each one's own, which is what a burst looks like, or everything travels for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from runs.rows_statement import (
    LEFT_OUT_WHEN_EMPTY,
    Shape,
    array_text,
    given_part,
    place_parts,
    run_part,
    snapshot_part,
    value_of,
)
from runs.trigger_statement import KEPT_STATEMENTS, RUN_COLUMNS

Row = Mapping[str, Any]
"""The columns of a run and its `request_key`, by name."""

# The same for all runs of an environment that are ready.
OF_ENVIRONMENT: tuple[str, ...] = (
    "environment_id",
    "project_id",
    "organization_id",
    "environment_type",
    "status",
    "execution_status",
)
# What is each run's own, also in a burst.
OWN: tuple[str, ...] = (
    "id",
    "snapshot_id",
    "request_key",
    "score",
    "payload",
    "first_queued_at",
    "ttl_ends_at",
    "created_at",
    "updated_at",
)
OFTEN_SHARED: tuple[str, ...] = tuple(
    name for name in RUN_COLUMNS if name not in OWN and name not in OF_ENVIRONMENT
)
CAN_BE_LEFT_OUT: frozenset[str] = LEFT_OUT_WHEN_EMPTY | {"request_key"}
_often_shared = itemgetter(*OFTEN_SHARED)


def gathered_shape(rows: Sequence[Row]) -> tuple[Shape, dict[str, Any]]:
    """Give what statement these rows need, and its parameters. No two have one request key."""
    first = rows[0]
    shared = _often_shared(first)
    if all(_often_shared(row) == shared for row in rows):
        once, apart = OF_ENVIRONMENT + OFTEN_SHARED, OWN
    else:
        once, apart = OF_ENVIRONMENT, OWN + OFTEN_SHARED
    values = {name: first[name] for name in once if _is_sent(name, (first[name],))}
    kept_once = tuple(values)
    for name in apart:
        column = [row[name] for row in rows]
        if _is_sent(name, column):
            values[name] = array_text(column)
    kept_apart = tuple(values)[len(kept_once) :]
    return Shape(kept_once, kept_apart, ("ready",), "request_key" in values), values


def _is_sent(name: str, column: Sequence[Any]) -> bool:
    return name not in CAN_BE_LEFT_OUT or any(value is not None for value in column)


@lru_cache(maxsize=KEPT_STATEMENTS)
def gathered_statement(shape: Shape) -> str:
    """Give the statement; its one row has the ids of the runs that were written, none: no row.

    Rule: a trigger whose request key is taken writes nothing. Keys are claimed in their order, so
    that two processes with the same keys wait for each other only one way round.
    """
    parts = [given_part(shape)]
    source = "given g"
    if shape.has_keys:
        parts += [_claim(shape), _MADE]
        source = "made g"
    parts += [run_part(shape, RUN_COLUMNS, source), snapshot_part(shape, source)]
    parts += place_parts(shape, source)
    return "WITH " + ",\n".join(parts) + "\n" + _open_lanes(shape, source)


_MADE = """made AS (
  SELECT g.* FROM given g
  WHERE g.request_key IS NULL OR g.id IN (SELECT run_id FROM request))"""


def _claim(shape: Shape) -> str:
    task = value_of(shape, "task_slug")
    return f"""request AS (
  INSERT INTO runs_requestkey (environment_id, task_slug, key, run_id, created_at)
  SELECT %(environment_id)s, {task}, g.request_key, g.id, g.created_at
  FROM given g WHERE g.request_key IS NOT NULL ORDER BY {task}::text, g.request_key
  ON CONFLICT (environment_id, task_slug, key) DO UPDATE
    SET run_id = EXCLUDED.run_id, created_at = EXCLUDED.created_at
    WHERE runs_requestkey.created_at < EXCLUDED.created_at - interval '24 hours'
  RETURNING run_id)"""  # noqa: S608


def _open_lanes(shape: Shape, source: str) -> str:
    names = ("worker_queue", "queue_name", "concurrency_key")
    columns = [f"{value_of(shape, 'lane_id')}::uuid AS lane_id"]
    columns += [f"{value_of(shape, name)}::text AS {name}" for name in names]
    return f"""SELECT (SELECT array_agg(g.id) FROM {source}), runs_open_lanes(array_agg(l.lane_id),
  array_agg(l.worker_queue), %(environment_id)s, array_agg(l.queue_name),
  array_agg(l.concurrency_key))
FROM (SELECT DISTINCT {", ".join(columns)} FROM {source}) l HAVING count(*) > 0"""  # noqa: S608
