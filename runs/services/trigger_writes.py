"""Write the run of a trigger: alone, or with others of its environment that came meanwhile.

Each is one statement in autocommit, and answered when its commit is on disk. Going together costs
PostgreSQL and this process a fraction for each, and nobody waits for it: while one write is under
way, the next ones gather. Environments never wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from django.db import InterfaceError, OperationalError, connection
from psycopg.rows import tuple_row

from runs.gathered_statement import Row, gathered_shape, gathered_statement
from runs.gathering import Gatherer, NotTogether
from runs.trigger_statement import Place, given_columns, trigger_statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_GATHERED_CHARS: Final = 64 * 1024  # of a payload or metadata: larger ones would hold others up


def write_run(place: Place, row: Row) -> bool:
    """Write a run with its first snapshot, place and keys; False when one of its keys is taken."""
    if not _may_gather(place, row):
        return _write_alone(place, row)
    try:
        return GATHERER.write(row["environment_id"], row)
    except NotTogether as failed:
        if isinstance(failed.__cause__, OperationalError | InterfaceError):
            raise OperationalError(str(failed)) from failed  # as each of them would have met it
        return _write_alone(place, row)  # one of them cannot be written, and shall hear of it alone


def _may_gather(place: Place, row: Row) -> bool:
    return (
        place == "ready"
        and row["idempotency_key"] is None
        and len(row["payload"] or "") <= MAX_GATHERED_CHARS
        and len(row["metadata"] or "") <= MAX_GATHERED_CHARS
        and not connection.in_atomic_block  # what others wrote would hang on this transaction
    )


def _write_alone(place: Place, row: Row) -> bool:
    columns = given_columns(row)
    statement = trigger_statement(
        place,
        columns,
        has_key=row["idempotency_key"] is not None,
        has_request_key=row["request_key"] is not None,
    )
    return _execute(statement, columns) is not None


def write_together(rows: Sequence[Row]) -> list[bool]:
    """Write rows of one environment, all ready; say for each whether its request key was free."""
    if len(rows) == 1:
        return [_write_alone("ready", rows[0])]
    shape, values = gathered_shape(_first_of_each_request(rows))
    found = _execute(gathered_statement(shape), values)
    written = frozenset(() if found is None else found[0])
    return [row["id"] in written for row in rows]


def _first_of_each_request(rows: Sequence[Row]) -> list[Row]:
    """Leave out repeats of a request, which one statement cannot claim twice."""
    first: dict[object, Row] = {}
    for row in rows:
        key = row["request_key"]
        first.setdefault(row["id"] if key is None else (row["task_slug"], key), row)
    return list(first.values())


def _execute(statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Run a statement as a prepared one; give its row."""
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        psycopg.Cursor(connection.connection, row_factory=tuple_row) as cursor,
    ):
        return cursor.execute(statement, values, prepare=True).fetchone()


GATHERER: Final[Gatherer[Row, bool]] = Gatherer(write_together)
"""Of this process; its groups are the ids of environments."""
