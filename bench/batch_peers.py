"""Batch enqueue of other Python queues, and PostgreSQL's own COPY, on the same server.

All of them write in process, without HTTP, and nothing but a row for each item; each gets the
better of one and several producing threads.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import procrastinate
import psycopg
from pgqueuer.db import SyncPsycopgDriver
from pgqueuer.queries import Queries, SyncQueries

from bench.batches import RUNS, rate_of
from bench.peers import FOR_S, PAYLOAD, THREADS

Producer = Callable[[], Callable[[], object]]
"""Gives what enqueues one batch, for one thread."""

TEXT = json.dumps(PAYLOAD)


@contextmanager
def procrastinate_batches(database_url: str) -> Generator[Producer, None, None]:
    """Give producers of batches of jobs with procrastinate, into a database that was empty."""
    connector = procrastinate.SyncPsycopgConnector(
        conninfo=database_url, min_size=max(THREADS), max_size=max(THREADS)
    )
    app = procrastinate.App(connector=connector)
    task = app.task(name="bench-batch")(_nothing)
    jobs: list[Any] = [{"payload": PAYLOAD}] * RUNS
    with app.open():
        app.schema_manager.apply_schema()
        yield lambda: lambda: task.batch_defer(*jobs)


@contextmanager
def pgqueuer_batches(database_url: str) -> Generator[Producer, None, None]:
    """Give producers of batches of jobs with PgQueuer, into a database that was empty."""
    asyncio.run(_install_pgqueuer(database_url))
    names, payloads, priorities = ["bench"] * RUNS, [TEXT.encode()] * RUNS, [0] * RUNS
    with ExitStack() as opened:

        def producer() -> Callable[[], object]:
            connection = opened.enter_context(psycopg.connect(database_url, autocommit=True))
            queries = SyncQueries(SyncPsycopgDriver(connection))
            return lambda: queries.enqueue(names, list(payloads), priorities)

        yield producer


@contextmanager
def copied_rows(database_url: str) -> Generator[Producer, None, None]:
    """Give producers of rows by COPY into one table with a key: what PostgreSQL itself can do."""
    numbers = count()
    with ExitStack() as opened:
        with psycopg.connect(database_url, autocommit=True) as first:
            first.execute("CREATE TABLE copied (id text PRIMARY KEY, payload text NOT NULL)")

        def producer() -> Callable[[], object]:
            connection = opened.enter_context(psycopg.connect(database_url, autocommit=True))
            return lambda: _copy(connection, next(numbers))

        yield producer


def best_batch_rate(producer: Producer) -> float:
    """Give how many items a second, with the number of threads that does best now."""
    producer()()
    return max(rate_of(producer, RUNS, producers=threads, for_s=FOR_S) for threads in THREADS)


def _copy(connection: psycopg.Connection[tuple[object, ...]], number: int) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY copied (id, payload) FROM STDIN") as copy,
    ):
        for item in range(RUNS):
            copy.write_row((f"row_{number:012}{item:012}", TEXT))


async def _install_pgqueuer(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await Queries.from_psycopg_connection(connection).install()


def _nothing(payload: object) -> None:
    """Stand for a task; nothing executes it."""
