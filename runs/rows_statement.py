"""Parts of the statements that write many runs at once. Pure text.

They write what the statement of a single trigger writes (`runs/trigger_statement.py`), for all rows
at once. What is the same for all of them travels once, what differs as one array for each column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from runs.trigger_statement import OPTIONAL_COLUMNS, STARTS_WITH, Place

RowPlace = Place | Literal["over"]
"""Where a new run goes; one that failed before it began is over."""

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
_PLACES: Mapping[RowPlace, tuple[str, tuple[str, ...]]] = {
    "ready": ("runs_readyentry (lane_id, score, run_id)", ("lane_id", "score", "id")),
    "delayed": ("runs_delayedentry (run_id, due_at)", ("id", "delay_until")),
    "version": (
        "runs_versionwait (run_id, environment_id, task_slug)",
        ("id", "environment_id", "task_slug"),
    ),
}


class Shape(NamedTuple):
    """Which statement some rows need."""

    once: tuple[str, ...]  # columns with one value for all rows
    apart: tuple[str, ...]  # columns with an array of values
    places: tuple[RowPlace, ...]
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


def given_part(shape: Shape) -> str:
    """Give the part that makes rows of the arrays; each column there has its own name."""
    arrays = ", ".join(f"%({name})s::{TYPES.get(name, 'text')}[]" for name in shape.apart)
    return f"given AS (SELECT * FROM unnest({arrays}) AS g({', '.join(shape.apart)}))"  # noqa: S608


def value_of(shape: Shape, name: str) -> str:
    """Give how the value of a column stands in a part whose rows are called `g`."""
    if name not in shape.apart:
        return f"%({name})s"
    return "g.tags::text[]" if name == "tags" else f"g.{name}"


def run_part(shape: Shape, columns: Sequence[str], source: str) -> str:
    """Give the part that writes the runs with those of these columns that the rows have."""
    named = [name for name in columns if name in shape.once or name in shape.apart]
    values = [value_of(shape, name) for name in named]
    return (
        f"run AS (INSERT INTO runs_taskrun ({', '.join((*named, *STARTS_WITH))})\n"  # noqa: S608
        f"  SELECT {', '.join((*values, *STARTS_WITH.values()))} FROM {source})"
    )


def snapshot_part(shape: Shape, source: str) -> str:
    """Give the part that writes the runs' first snapshots."""
    values = [value_of(shape, name) for name in ("execution_status", "status", "created_at")]
    execution_status, status, created_at = values
    return f"""snapshot AS (
  INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description,
    is_valid, created_at)
  SELECT g.id, g.snapshot_id, {execution_status}, {status}, 'trigger', 'Triggered', true,
    {created_at} FROM {source})"""  # noqa: S608


def place_parts(shape: Shape, source: str) -> list[str]:
    """Give the parts that put the runs where they wait."""
    return [_place(shape, place, source) for place in shape.places if place in _PLACES]


def _place(shape: Shape, place: RowPlace, source: str) -> str:
    table, columns = _PLACES[place]
    values = ", ".join(value_of(shape, name) for name in columns)
    only = f" WHERE g.place = '{place}'" if len(shape.places) > 1 else ""
    return f"{place} AS (INSERT INTO {table} SELECT {values} FROM {source}{only})"  # noqa: S608
