"""Fill a database with runs that wait, many at a time: each as a trigger would have left it.

A run that was triggered over HTTP is the model; the rest are its copies with ids, scores and lanes
of their own, each with its first snapshot and its ready entry.
"""

from __future__ import annotations

from typing import NamedTuple

import psycopg

from ledger.ids import encode_ms
from runs.lanes import lane_id_of

RUN_ID = "'run_' || %(head)s || lpad(g::text, 15, '0')"
SNAPSHOT_ID = "'snapshot_' || %(head)s || lpad(g::text, 15, '0')"
COPIED = {
    "id": RUN_ID,
    "snapshot_id": SNAPSHOT_ID,
    "lane_id": "l.lane",
    "concurrency_key": "l.key",
    "score": "t.score + g",
}
FILL = """
WITH made AS (
  INSERT INTO runs_taskrun ({columns})
  SELECT {values} FROM generate_series(%(first)s::bigint, %(last)s::bigint) g
  JOIN bench_lane l ON l.environment_id = %(environment)s AND l.number = g %% %(lanes)s
  CROSS JOIN (SELECT * FROM runs_taskrun WHERE id = %(model)s) t
  RETURNING id, snapshot_id, lane_id, score, created_at
), ready AS (
  INSERT INTO runs_readyentry (lane_id, score, run_id) SELECT lane_id, score, id FROM made
)
INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description,
  is_valid, created_at)
SELECT id, snapshot_id, 'QUEUED', 'PENDING', 'trigger', 'Triggered', true, created_at FROM made
"""
OPEN_LANES = """
SELECT runs_open_lane(l.lane, t.worker_queue, t.environment_id, t.queue_name, l.key)
FROM bench_lane l JOIN runs_taskrun t ON t.id = %s AND t.environment_id = l.environment_id
"""
GIVE_BACK = """
DELETE FROM runs_lease;
DELETE FROM runs_queueslots;
UPDATE runs_environmentslots SET running = 0 WHERE environment_id <> ALL (
  SELECT id FROM tenants_environment WHERE concurrency_limit < {unlimited});
"""
UNLIMITED = 1_000_000_000


class Model(NamedTuple):
    """A run to copy: the id of one that an HTTP trigger wrote."""

    run_id: str
    environment_id: str
    worker_queue: str
    queue_name: str


class Backlog:
    """The waiting runs of one environment in one database, spread evenly over lanes."""

    def __init__(self, url: str, model: Model, *, lanes: int, now_ms: int) -> None:
        """Open the lanes. `now_ms` is the time in the ids of the copies."""
        self._connection = psycopg.connect(url, autocommit=True)
        self._model = model
        self._lanes = lanes
        self._head = encode_ms(now_ms)
        self._next = 0
        self._prepare()

    def fill(self, count: int) -> None:
        """Add so many runs behind those that wait already."""
        names = self._connection.execute("SELECT * FROM runs_taskrun LIMIT 0").description or ()
        columns = [column.name for column in names]
        values = [COPIED.get(name, f"t.{name}") for name in columns]
        self._connection.execute(
            FILL.format(columns=", ".join(columns), values=", ".join(values)),
            {
                "head": self._head,
                "first": self._next,
                "last": self._next + count - 1,
                "lanes": self._lanes,
                "environment": self._model.environment_id,
                "model": self._model.run_id,
            },
        )
        self._connection.execute(OPEN_LANES, [self._model.run_id])
        self._next += count

    def give_back(self, count: int) -> None:
        """End all leases, as if their runs had ended, and add as many runs as were taken."""
        self._connection.execute(GIVE_BACK.format(unlimited=UNLIMITED))
        self.fill(count)

    def settle(self) -> None:
        """Let the server do now what it would do in time after so many writes."""
        self._connection.execute("VACUUM (ANALYZE)")
        self._connection.execute("CHECKPOINT")

    def hold_at_limit(self, limit: int) -> None:
        """Make the environment look as if it had so many runs under way, all it may have.

        It is first in turn again, as after a slot came back and was taken: the next dequeue has to
        find out that it may have nothing.
        """
        environment = self._model.environment_id
        for statement in (
            f"UPDATE tenants_environment SET concurrency_limit = {limit} WHERE id = %s",
            f"UPDATE runs_environmentslots SET running = {limit} WHERE environment_id = %s",
            "UPDATE runs_environmentturn SET turn = -1, blocked = false WHERE environment_id = %s",
        ):
            self._connection.execute(statement, [environment])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _prepare(self) -> None:
        model = self._model
        self._connection.execute(
            """CREATE TABLE IF NOT EXISTS bench_lane (environment_id text, number int, lane uuid,
            key text, PRIMARY KEY (environment_id, number))"""
        )
        keys = [""] if self._lanes == 1 else [f"key-{number}" for number in range(self._lanes)]
        with (
            self._connection.cursor() as cursor,
            cursor.copy("COPY bench_lane FROM STDIN") as copy,
        ):
            for number, key in enumerate(keys):
                lane = lane_id_of(model.worker_queue, model.environment_id, model.queue_name, key)
                copy.write_row((model.environment_id, number, lane, key))


def take_model(connection: psycopg.Connection[tuple[object, ...]], run_id: str) -> Model:
    """Give a triggered run as a model, out of the queue and its environment without a limit."""
    row = connection.execute(
        "SELECT id, environment_id, worker_queue, queue_name FROM runs_taskrun WHERE id = %s",
        [run_id],
    ).fetchone()
    assert row is not None, f"{run_id} was triggered, and is gone"
    model = Model(*map(str, row))
    connection.execute(
        "UPDATE tenants_environment SET concurrency_limit = %s WHERE id = %s",
        [UNLIMITED, model.environment_id],
    )
    for table in ("runs_lane", "runs_environmentturn", "runs_readyentry"):
        connection.execute(f"DELETE FROM {table}")
    return model
