"""One move of a run: a conditional update on (run, snapshot id) that appends a RunSnapshot.

Callers read the run, ask `runs.states` for the target, and call `apply_move`. Zero rows means
somebody else moved it first: `StaleSnapshot`. A move that takes or gives back a lease is made under
the environment's mutex, which is taken before the run is read (`lock_environment`).
"""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from django.db import connection

from ledger.ids import new_id
from runs.errors import RunNotFound, StaleSnapshot
from runs.states import Event, ExecutionStatus, RunStatus, State, next_state

_READ = """
SELECT id, environment_id, project_id, organization_id, environment_type, task_slug, status,
  execution_status, snapshot_id, attempt_number, dispatch_number, deliveries, worker_queue,
  queue_name, concurrency_key, worker_id, version, machine, max_attempts, max_duration_s,
  idempotency_key, lost_attempts
FROM runs_taskrun WHERE id = %s
"""
_MOVE = """
WITH moved AS (
  UPDATE runs_taskrun SET execution_status = %(execution)s, status = %(status)s,
    snapshot_id = runs_next_snapshot_id(snapshot_id, %(candidate)s),
    updated_at = clock_timestamp(){columns}
  WHERE id = %(run)s AND snapshot_id = %(expected)s
  RETURNING id, snapshot_id, attempt_number, worker_id, updated_at
)
INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description,
  is_valid, previous_id, attempt_number, worker_id, worker_group_id, worker_instance, runner_id,
  request_key, created_at)
SELECT id, snapshot_id, %(execution)s, %(status)s, %(event)s, %(description)s, true, %(expected)s,
  attempt_number, worker_id, %(worker_group)s, %(worker_instance)s, %(runner)s, %(request_key)s,
  updated_at FROM moved
RETURNING id, attempt_number, created_at
"""


class RunRow(NamedTuple):
    """What every move reads of a run."""

    id: str
    environment_id: str
    project_id: str
    organization_id: str
    environment_type: str
    task_slug: str
    status: RunStatus
    execution_status: ExecutionStatus
    snapshot_id: str
    attempt_number: int
    dispatch_number: int
    deliveries: int
    worker_queue: str
    queue_name: str
    concurrency_key: str
    worker_id: str | None
    version: str | None
    machine: str | None
    max_attempts: int | None
    max_duration_s: int | None
    idempotency_key: str | None
    lost_attempts: int


class Mover(NamedTuple):
    """Who makes a move; recorded on the snapshot, so that a repeat is recognised."""

    worker_group_id: str | None = None
    worker_instance: str | None = None
    runner_id: str | None = None
    request_key: str | None = None


class Moved(NamedTuple):
    """A run after a move."""

    run: RunRow
    snapshot_id: str
    state: State
    attempt_number: int
    at: Any  # aware datetime, the database's clock


ENGINE = Mover()


def read_run(run_id: str) -> RunRow:
    """Give the run as it stands, or raise `RunNotFound`."""
    return _read(_READ, run_id)


def lock_run(run_id: str) -> RunRow:
    """Give the run as it stands and let nobody move it until the transaction ends.

    Taken after the environment's mutex, which those who start an attempt do not take.
    """
    return _read(_READ + "FOR UPDATE", run_id)


def _read(query: str, run_id: str) -> RunRow:
    with connection.cursor() as cursor:
        cursor.execute(query, [run_id])
        row = cursor.fetchone()
    if row is None:
        raise RunNotFound(run_id)
    run = RunRow(*row)
    return run._replace(
        status=RunStatus(run.status), execution_status=ExecutionStatus(run.execution_status)
    )


def read_run_at(run_id: str, snapshot_id: str) -> RunRow:
    """Give the run if `snapshot_id` is its latest snapshot, or raise `StaleSnapshot`."""
    run = read_run(run_id)
    if run.snapshot_id != snapshot_id:
        raise StaleSnapshot(run_id, snapshot_id)
    return run


def lock_environment(environment_id: str) -> None:
    """Take the environment's mutex until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT runs_lock_environment(%s)", [environment_id])


def apply_move(
    run: RunRow,
    event: Event,
    *,
    description: str,
    outcome: RunStatus | None = None,
    mover: Mover = ENGINE,
    columns: dict[LiteralString, Any] | None = None,
) -> Moved:
    """Move the run as the table says and append its snapshot.

    `columns` are further columns of the run, as `name -> value`; a value that is an `Expression`
    is SQL. Raise `IllegalMove` or `StaleSnapshot`.
    """
    target = next_state(run.execution_status, event, outcome=outcome)
    assignments, values = _assignments(columns or {})
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE.replace("{columns}", assignments),
            {
                **values,
                "execution": target.execution,
                "status": target.run,
                "candidate": new_id("snapshot"),
                "run": run.id,
                "expected": run.snapshot_id,
                "event": event,
                "description": description,
                "worker_group": mover.worker_group_id,
                "worker_instance": mover.worker_instance,
                "runner": mover.runner_id,
                "request_key": mover.request_key,
            },
        )
        row = cursor.fetchone()
    if row is None:
        raise StaleSnapshot(run.id, run.snapshot_id)
    return Moved(run, row[0], target, row[1], row[2])


class Expression(str):
    """A piece of SQL as the value of a column, written in this app only."""

    __slots__ = ()


def _assignments(columns: dict[LiteralString, Any]) -> tuple[str, dict[str, Any]]:
    parts, values = [], {}
    for name, value in columns.items():
        if isinstance(value, Expression):
            parts.append(f", {name} = {value}")
        else:
            parts.append(f", {name} = %(column_{name})s")
            values[f"column_{name}"] = value
    return "".join(parts), values
