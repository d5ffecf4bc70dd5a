"""The statement of a batch's items: many runs, their snapshots, places, keys and items. Pure.

Most items of a batch differ in little but their ids and payloads: only what does differ travels as
an array (`runs/rows_statement.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

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

BATCH_COLUMNS: tuple[str, ...] = (*RUN_COLUMNS, "batch_id", "error", "completed_at")
ALWAYS_APART = frozenset({"item_index", "id", "snapshot_id"})
APART_WITH_KEYS = frozenset({"task_slug", "idempotency_key", "idempotency_key_expires_at"})


class OwnColumns(NamedTuple):
    """What each item has for itself; two items of a batch often differ in nothing else."""

    item_index: int
    id: str
    snapshot_id: str
    score: int
    payload: str | None
    idempotency_key: str | None
    idempotency_key_shown: str | None
    idempotency_key_expires_at: datetime | None


class ItemRow(NamedTuple):
    """The row of an item's run: `shared` has every other name of `BATCH_COLUMNS`, and `place`.

    Items that ask for the same share one object, which is then looked at once.
    """

    shared: Mapping[str, Any]
    own: OwnColumns


def shape_of(rows: Sequence[ItemRow]) -> tuple[Shape, dict[str, Any]]:
    """Give what statement these rows need, and its parameters."""
    own = dict(zip(OwnColumns._fields, zip(*(row.own for row in rows), strict=True), strict=True))
    has_keys = any(key is not None for key in own["idempotency_key"])
    keep_apart = ALWAYS_APART | APART_WITH_KEYS if has_keys else ALWAYS_APART
    shared = [row.shared for row in rows]
    is_one = all(one is shared[0] for one in shared)
    once, apart, values = [], [], {}
    for name in ("item_index", "place", *BATCH_COLUMNS):
        column: Sequence[Any]
        if name in own:
            column = own[name]
        elif is_one and name not in keep_apart:
            column = (shared[0][name],)
        else:
            column = [one[name] for one in shared]
        first = column[0]
        if name not in keep_apart and column.count(first) == len(column):
            if first is not None or name not in LEFT_OUT_WHEN_EMPTY:
                once.append(name)
                values[name] = first
        else:
            apart.append(name)
            values[name] = array_text(column)
    places = tuple(sorted({one["place"] for one in shared}))
    if len(places) == 1:
        once.remove("place")
        del values["place"]
    return Shape(tuple(once), tuple(apart), places, has_keys), values


@lru_cache(maxsize=KEPT_STATEMENTS)
def batch_statement(shape: Shape) -> str:
    """Give the statement; it returns the index of each item that was written.

    Rule: an item whose key is taken writes nothing; keys are claimed in their order, so that two
    batches with the same keys wait for each other only one way round.
    """
    parts = [given_part(shape)]
    source = "given g"
    if shape.has_keys:
        parts += [_claim(shape), _MADE]
        source = "made g"
    parts += [run_part(shape, BATCH_COLUMNS, source), snapshot_part(shape, source)]
    parts += place_parts(shape, source)
    parts.append(
        "item AS (INSERT INTO runs_batchitem (batch_id, item_index, run_id, task_slug)\n"  # noqa: S608
        f"  SELECT %(batch_id)s, g.item_index, g.id, {value_of(shape, 'task_slug')} FROM {source})"
    )
    return "WITH " + ",\n".join(parts) + f"\nSELECT g.item_index FROM {source}"


_MADE = """made AS (
  SELECT g.* FROM given g
  WHERE g.idempotency_key IS NULL OR g.id IN (SELECT run_id FROM claim))"""


def _claim(shape: Shape) -> str:
    environment, created_at = value_of(shape, "environment_id"), value_of(shape, "created_at")
    return f"""claim AS (
  INSERT INTO runs_idempotencykey (environment_id, task_slug, key, run_id, expires_at)
  SELECT {environment}, g.task_slug, g.idempotency_key, g.id, g.idempotency_key_expires_at
  FROM given g WHERE g.idempotency_key IS NOT NULL ORDER BY g.task_slug, g.idempotency_key
  ON CONFLICT (environment_id, task_slug, key) DO UPDATE
    SET run_id = EXCLUDED.run_id, expires_at = EXCLUDED.expires_at
    WHERE runs_idempotencykey.expires_at <= {created_at}
  RETURNING run_id)"""  # noqa: S608
