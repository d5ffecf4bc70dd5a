"""Compare the runs with the queue's tables, and repair what does not add up.

Both change in one transaction, so there is nothing to find: what this counts is a fault of ours, or
somebody's hand in the database. Each query is one statement and so sees one moment. A run and an
environment are looked at again under the environment's mutex before anything is repaired.

Everything but the runs themselves is compared each time; of the runs, a piece of them in the order
of their ids, so that a pass over all of them takes several ticks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from runs.books import RIGHT, Place, decide_repair
from runs.metrics import RECONCILED
from runs.moves import RunRow, lock_environment, read_run
from runs.reconciler_records import Fixed
from runs.services.ending import place_run
from runs.services.wakeups import announce_ready
from tenants.errors import NotFound

log = structlog.get_logger(__name__)

NAME = "compare_books"
CHUNK = 10_000  # runs that one statement compares
CHUNKS = 10  # of one tick
MOST = 500  # differences that one statement gives
NAMED = 20  # of them in a log line

# Entries of the queue whose run is not there, or is not where its entry says.
_STRAYS = {
    Place.READY: """DELETE FROM runs_readyentry e WHERE NOT EXISTS (SELECT 1 FROM runs_taskrun r
        WHERE r.id = e.run_id AND r.lane_id = e.lane_id AND r.score = e.score)""",
    Place.DELAYED: """DELETE FROM runs_delayedentry e WHERE NOT EXISTS (
        SELECT 1 FROM runs_taskrun r WHERE r.id = e.run_id)""",
    Place.VERSION: """DELETE FROM runs_versionwait e WHERE NOT EXISTS (
        SELECT 1 FROM runs_taskrun r WHERE r.id = e.run_id)""",
    Place.LEASE: """DELETE FROM runs_lease e WHERE NOT EXISTS (
        SELECT 1 FROM runs_taskrun r WHERE r.id = e.run_id)""",
}
_MISPLACED = """
SELECT e.run_id FROM runs_readyentry e JOIN runs_taskrun r ON r.id = e.run_id
WHERE r.execution_status <> 'QUEUED'
UNION SELECT e.run_id FROM runs_delayedentry e JOIN runs_taskrun r ON r.id = e.run_id
WHERE r.execution_status NOT IN ('QUEUED', 'DELAYED', 'SUSPENDED')
UNION SELECT e.run_id FROM runs_versionwait e JOIN runs_taskrun r ON r.id = e.run_id
WHERE r.execution_status <> 'RUN_CREATED'
UNION SELECT e.run_id FROM runs_lease e JOIN runs_taskrun r ON r.id = e.run_id
WHERE NOT r.execution_status || ':lease' = ANY (%s)
LIMIT %s
"""
_PLACES = """array_remove(ARRAY[
  CASE WHEN EXISTS (SELECT 1 FROM runs_readyentry e WHERE e.lane_id = r.lane_id
    AND e.score = r.score AND e.run_id = r.id) THEN 'ready' END,
  CASE WHEN EXISTS (SELECT 1 FROM runs_delayedentry e WHERE e.run_id = r.id) THEN 'delayed' END,
  CASE WHEN EXISTS (SELECT 1 FROM runs_versionwait e WHERE e.run_id = r.id) THEN 'version' END,
  CASE WHEN EXISTS (SELECT 1 FROM runs_lease e WHERE e.run_id = r.id) THEN 'lease' END], NULL)"""
_CHUNK_END = "SELECT id FROM runs_taskrun WHERE id > %s ORDER BY id OFFSET %s LIMIT 1"
_LOST = f"""
SELECT r.id FROM runs_taskrun r
WHERE r.id > %s AND r.id <= %s AND r.execution_status <> 'FINISHED'
  AND NOT r.execution_status || ':' || array_to_string({_PLACES}, ',') = ANY (%s)
ORDER BY r.id LIMIT %s
"""  # noqa: S608  nothing but our own words
# A process of an older release queues runs without saying when their ttl ends.
_ENDLESS = """
UPDATE runs_taskrun SET ttl_ends_at = first_queued_at + ttl_s * interval '1 second'
WHERE id > %s AND id <= %s AND execution_status = 'QUEUED' AND dispatch_number = 0
  AND ttl_s IS NOT NULL AND first_queued_at IS NOT NULL AND ttl_ends_at IS NULL
"""
_MISCOUNTED = """
SELECT coalesce(s.environment_id, l.environment_id) FROM runs_environmentslots s FULL JOIN
  (SELECT environment_id, count(*) AS running FROM runs_lease GROUP BY 1) l USING (environment_id)
WHERE coalesce(s.running, 0) <> coalesce(l.running, 0)
UNION
SELECT environment_id FROM runs_queueslots s FULL JOIN
  (SELECT environment_id, queue_name, concurrency_key, count(*) AS running
   FROM runs_lease GROUP BY 1, 2, 3) l USING (environment_id, queue_name, concurrency_key)
WHERE s.running IS DISTINCT FROM l.running
UNION
SELECT l.environment_id FROM runs_lane l WHERE l.blocked AND runs_lane_has_slot(l)
UNION
SELECT t.environment_id FROM runs_environmentturn t
JOIN tenants_environment e ON e.id = t.environment_id
JOIN runs_environmentslots s ON s.environment_id = t.environment_id
WHERE t.blocked AND NOT e.paused AND s.running < e.concurrency_limit AND EXISTS (
  SELECT 1 FROM runs_lane l WHERE l.worker_queue = t.worker_queue
    AND l.environment_id = t.environment_id AND NOT l.blocked)
LIMIT %s
"""
_CLOSED = """
SELECT min(e.run_id) FROM runs_readyentry e WHERE NOT EXISTS (
  SELECT 1 FROM runs_lane l JOIN runs_environmentturn t
    ON t.worker_queue = l.worker_queue AND t.environment_id = l.environment_id
  WHERE l.id = e.lane_id)
GROUP BY e.lane_id LIMIT %s
"""
_IS_READY = """
SELECT 1 FROM runs_taskrun r JOIN runs_readyentry e
  ON e.lane_id = r.lane_id AND e.score = r.score AND e.run_id = r.id
WHERE r.id = %s AND r.execution_status = 'QUEUED'
"""
_OPEN_TURN = """
INSERT INTO runs_environmentturn (worker_queue, environment_id, turn, blocked)
SELECT r.worker_queue, r.environment_id, nextval('runs_turn'), false
FROM runs_taskrun r WHERE r.id = %s ON CONFLICT DO NOTHING
"""


def compare_books(*, chunk: int = CHUNK, chunks: int = CHUNKS) -> Fixed:
    """Bring back every run that is in a wrong place, and every counter that is not exact.

    Of the runs themselves the next `chunks` times `chunk` are compared.
    """
    strays = sum(_execute(statement) for statement in _STRAYS.values())
    wrong = _column(_MISPLACED, [list(RIGHT), MOST])
    lost, endless = _compare_runs(chunk, chunks)
    runs = list(dict.fromkeys([*wrong, *lost]))
    fixed = strays + endless + sum(map(_repair_run, runs))
    closed = _column(_CLOSED, [MOST])
    fixed += sum(map(_open_lane, closed))
    miscounted = _column(_MISCOUNTED, [MOST])
    fixed += sum(map(_recount, miscounted))
    found = strays + endless + len(runs) + len(closed) + len(miscounted)
    if found:
        RECONCILED.labels(NAME).inc(fixed)
        log.error(
            "books.differed",
            strays=strays,
            runs=runs[:NAMED],
            endless=endless,
            lanes=len(closed),
            environments=miscounted[:NAMED],
        )
    return Fixed(fixed, found=found)


def _compare_runs(chunk: int, chunks: int) -> tuple[list[str], int]:
    """Compare the next runs; give those in a wrong place, and how many had an endless ttl."""
    lost: list[str] = []
    endless = 0
    position = _read_position()
    for _ in range(chunks):
        ends = _column(_CHUNK_END, [position, chunk - 1])
        end = ends[0] if ends else "~"  # greater than every id
        lost += _column(_LOST, [position, end, list(RIGHT), MOST])
        endless += _execute(_ENDLESS, [position, end])
        position = end if ends else ""
        if not ends:
            break
    _write_position(position)
    return lost, endless


def _read_position() -> str:
    found = _column("SELECT position FROM runs_reconcilerrecord WHERE name = %s", [NAME])
    return found[0] or "" if found else ""


def _write_position(position: str) -> None:
    _execute(
        "INSERT INTO runs_reconcilerrecord (name, found, fixed, position) VALUES (%s, 0, 0, %s)"
        " ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        [NAME, position],
    )


def _repair_run(run_id: str) -> bool:
    """Bring a run back to where it belongs; False when it is there, or gone, by now."""
    try:
        with transaction.atomic():
            lock_environment(read_run(run_id).environment_id)
            run = read_run(run_id)
            (places,) = _column(
                f"SELECT {_PLACES} FROM runs_taskrun r WHERE r.id = %s",  # noqa: S608
                [run_id],
            )
            repair = decide_repair(run.execution_status, frozenset(map(Place, places)))
            if repair is None:
                return False
            for place in repair.leave:
                _execute(_LEAVE[place], [run_id])
            if repair.enter is not None:
                _enter(run, repair.enter)
            if Place.LEASE in repair.leave | {repair.enter}:
                _count_anew(run.environment_id)
    except NotFound:
        return False
    log.warning("books.repaired", run_id=run_id, status=run.execution_status, places=places)
    return True


_LEAVE: dict[Place, str] = {
    Place.READY: "DELETE FROM runs_readyentry e USING runs_taskrun r WHERE r.id = %s"
    " AND e.lane_id = r.lane_id AND e.score = r.score AND e.run_id = r.id",
    Place.DELAYED: "DELETE FROM runs_delayedentry WHERE run_id = %s",
    Place.VERSION: "DELETE FROM runs_versionwait WHERE run_id = %s",
    Place.LEASE: "DELETE FROM runs_lease WHERE run_id = %s",
}
_DELAY = """
INSERT INTO runs_delayedentry (run_id, due_at)
SELECT id, CASE WHEN execution_status = 'SUSPENDED'
  THEN updated_at + %s * interval '1 millisecond'
  ELSE coalesce(delay_until, clock_timestamp()) END
FROM runs_taskrun WHERE id = %s
"""
_AWAIT_VERSION = """
INSERT INTO runs_versionwait (run_id, environment_id, task_slug)
SELECT id, environment_id, task_slug FROM runs_taskrun WHERE id = %s
"""
# Whoever holds it may go on; if nobody does, it runs out.
_LEASE = """
INSERT INTO runs_lease (run_id, environment_id, queue_name, concurrency_key, worker_group_id,
  due_at)
SELECT r.id, r.environment_id, r.queue_name, r.concurrency_key,
  (SELECT s.worker_group_id FROM runs_runsnapshot s WHERE s.run_id = r.id AND s.event = 'dequeue'
   ORDER BY s.id DESC LIMIT 1),
  clock_timestamp() + %s * interval '1 millisecond'
FROM runs_taskrun r WHERE r.id = %s
"""


def _enter(run: RunRow, place: Place) -> None:
    if place is Place.READY:
        place_run(run)
    elif place is Place.DELAYED:
        _execute(_DELAY, [settings.ENV.timeout_suspended_ms, run.id])
    elif place is Place.VERSION:
        _execute(_AWAIT_VERSION, [run.id])
    else:
        _execute(_LEASE, [settings.ENV.timeout_executing_ms, run.id])


def _open_lane(run_id: str) -> bool:
    """Open the lane of a run that is ready, and its environment's turn."""
    try:
        with transaction.atomic():
            run = read_run(run_id)
            lock_environment(run.environment_id)
            if not _column(_IS_READY, [run_id]):
                return False
            place_run(run)
            _execute(_OPEN_TURN, [run_id])
    except NotFound:
        return False
    return True


@transaction.atomic
def _recount(environment_id: str) -> bool:
    """Count the leases of an environment anew."""
    lock_environment(environment_id)
    _count_anew(environment_id)
    return True


def _count_anew(environment_id: str) -> None:
    """Set an environment's counters to its leases, and open what they kept shut."""
    _execute(
        "UPDATE runs_environmentslots SET running = (SELECT count(*) FROM runs_lease l"
        " WHERE l.environment_id = runs_environmentslots.environment_id) WHERE environment_id = %s",
        [environment_id],
    )
    _execute("DELETE FROM runs_queueslots WHERE environment_id = %s", [environment_id])
    _execute(
        "INSERT INTO runs_queueslots (environment_id, queue_name, concurrency_key, running)"
        " SELECT environment_id, queue_name, concurrency_key, count(*) FROM runs_lease"
        " WHERE environment_id = %s GROUP BY 1, 2, 3",
        [environment_id],
    )
    (opened,) = _column("SELECT runs_unblock(%s, NULL, NULL)", [environment_id])
    for queue in opened:
        transaction.on_commit(partial(announce_ready, queue))


def _column(query: str, values: Iterable[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, list(values))
        return [row[0] for row in cursor.fetchall()]


def _execute(statement: str, values: Iterable[Any] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(values))
        return int(cursor.rowcount)
