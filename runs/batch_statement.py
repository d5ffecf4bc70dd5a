"""The statement of a batch's items: many runs, their snapshots, places, keys and items. Pure.

It writes what the statement of a single trigger writes (`runs/trigger_statement.py`), for all rows
at once. What is the same for all of them travels once, what differs as one array for each column:
most items of a batch differ in little but their ids and payloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from runs.trigger_statement import (
    KEPT_STATEMENTS,
    OPTIONAL_COLUMNS,
    RUN_COLUMNS,
    STARTS_WITH,
    Place,
)

BatchPlace = Place | Literal["over"]
"""Where the run of an item goes; one that failed before it began is over."""

BATCH_COLUMNS: tuple[str, ...] = (*RUN_COLUMNS, "batch_id", "error", "completed_at")
LEFT_OUT_WHEN_EMPTY: frozenset[str] = OPTIONAL_COLUMNS | {
    "delay_until",
    "idempotency_key",
    "idempotency_key_expires_at",
    "error",
    "completed_at",
}
# Columns that are no text. Tags travel as the text of an array: an array of arrays is a matrix.
TYPES: Mapping[str, str] = {
    "item_index": "int",
    "decided_revision": "bigint",
    "lane_id": "uuid",
    "score": "bigint",
    "priority_ms": "int",
    "delay_until": "timestamptz",
    "ttl_s": "bigint",
    "first_queued_at": "timestamptz",
    "ttl_ends_at": "timestamptz",
    "max_attempts": "int",
    "max_duration_s": "int",
    "is_test": "boolean",
    "depth": "int",
    "idempotency_key_expires_at": "timestamptz",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "error": "jsonb",
    "completed_at": "timestamptz",
}
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


class Shape(NamedTuple):
    """Which statement some rows need."""

    once: tuple[str, ...]  # columns with one value for all rows
    apart: tuple[str, ...]  # columns with an array of values
    places: tuple[BatchPlace, ...]
    has_keys: bool


def array_text(values: Iterable[Any]) -> str:
    """Give the text of a PostgreSQL array; every value is quoted, None is NULL.

    >>> array_text(["a", None, 7, ["x", "y"]])[:12]
    '{"a",NULL,"7'
    """
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if type(value) is not str:
        value = array_text(value) if isinstance(value, list) else str(value)
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


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
    parts = [_given(shape)]
    source = "given g"
    if shape.has_keys:
        parts += [_claim(shape), _MADE]
        source = "made g"
    columns = [name for name in BATCH_COLUMNS if name in shape.once or name in shape.apart]
    values = [_value(shape, name) for name in columns]
    parts.append(
        f"run AS (INSERT INTO runs_taskrun ({', '.join((*columns, *STARTS_WITH))})\n"  # noqa: S608
        f"  SELECT {', '.join((*values, *STARTS_WITH.values()))} FROM {source})"
    )
    parts.append(_snapshot(shape, source))
    parts += [_place(shape, place, source) for place in shape.places if place in _PLACES]
    parts.append(
        "item AS (INSERT INTO runs_batchitem (batch_id, item_index, run_id, task_slug)\n"  # noqa: S608
        f"  SELECT %(batch_id)s, g.item_index, g.id, {_value(shape, 'task_slug')} FROM {source})"
    )
    return "WITH " + ",\n".join(parts) + f"\nSELECT g.item_index FROM {source}"


_MADE = """made AS (
  SELECT g.* FROM given g
  WHERE g.idempotency_key IS NULL OR g.id IN (SELECT run_id FROM claim))"""
_PLACES: Mapping[BatchPlace, tuple[str, tuple[str, ...]]] = {
    "ready": ("runs_readyentry (lane_id, score, run_id)", ("lane_id", "score", "id")),
    "delayed": ("runs_delayedentry (run_id, due_at)", ("id", "delay_until")),
    "version": (
        "runs_versionwait (run_id, environment_id, task_slug)",
        ("id", "environment_id", "task_slug"),
    ),
}


def _given(shape: Shape) -> str:
    arrays = ", ".join(f"%({name})s::{TYPES.get(name, 'text')}[]" for name in shape.apart)
    return f"given AS (SELECT * FROM unnest({arrays}) AS g({', '.join(shape.apart)}))"  # noqa: S608


def _value(shape: Shape, name: str) -> str:
    if name not in shape.apart:
        return f"%({name})s"
    return "g.tags::text[]" if name == "tags" else f"g.{name}"


def _claim(shape: Shape) -> str:
    environment, created_at = _value(shape, "environment_id"), _value(shape, "created_at")
    return f"""claim AS (
  INSERT INTO runs_idempotencykey (environment_id, task_slug, key, run_id, expires_at)
  SELECT {environment}, g.task_slug, g.idempotency_key, g.id, g.idempotency_key_expires_at
  FROM given g WHERE g.idempotency_key IS NOT NULL ORDER BY g.task_slug, g.idempotency_key
  ON CONFLICT (environment_id, task_slug, key) DO UPDATE
    SET run_id = EXCLUDED.run_id, expires_at = EXCLUDED.expires_at
    WHERE runs_idempotencykey.expires_at <= {created_at}
  RETURNING run_id)"""  # noqa: S608


def _snapshot(shape: Shape, source: str) -> str:
    values = [_value(shape, name) for name in ("execution_status", "status", "created_at")]
    execution_status, status, created_at = values
    return f"""snapshot AS (
  INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description,
    is_valid, created_at)
  SELECT g.id, g.snapshot_id, {execution_status}, {status}, 'trigger', 'Triggered', true,
    {created_at} FROM {source})"""  # noqa: S608


def _place(shape: Shape, place: BatchPlace, source: str) -> str:
    table, columns = _PLACES[place]
    values = ", ".join(_value(shape, name) for name in columns)
    only = f" WHERE g.place = '{place}'" if len(shape.places) > 1 else ""
    return f"{place} AS (INSERT INTO {table} SELECT {values} FROM {source}{only})"  # noqa: S608
