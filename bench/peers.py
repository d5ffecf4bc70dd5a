"""Enqueue rates of other Python queues, on the same servers, in the same run.

They enqueue in process, without HTTP and without an engine behind it; each gets the better of one
and several producing threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version

import celery
import procrastinate

Enqueue = Callable[[], object]

THREADS = (1, 4)
FOR_S = 2.0
PAYLOAD = {"orderId": "ord_8f14e45fceea167a", "customer": "Ada Lovelace", "items": [1, 2, 3, 5, 8]}


@contextmanager
def procrastinate_enqueue(database_url: str) -> Generator[Enqueue, None, None]:
    """Give what enqueues one job with procrastinate, into a database that was empty."""
    connector = procrastinate.SyncPsycopgConnector(
        conninfo=database_url, min_size=max(THREADS), max_size=max(THREADS)
    )
    app = procrastinate.App(connector=connector)
    task = app.task(name="bench")(_nothing)
    with app.open():
        app.schema_manager.apply_schema()
        yield lambda: task.defer(payload=PAYLOAD)


@contextmanager
def celery_enqueue(redis_url: str) -> Generator[Enqueue, None, None]:
    """Give what sends one message with Celery through Valkey, which keeps it in memory."""
    app = celery.Celery("bench", broker=redis_url, set_as_current=False)
    app.conf.update(broker_pool_limit=max(THREADS), task_ignore_result=True)
    try:
        yield lambda: app.send_task("bench", kwargs={"payload": PAYLOAD})
    finally:
        app.control.purge()
        app.close()


def best_rate(enqueue: Enqueue) -> float:
    """Give how many a second, with the number of threads that does best now."""
    enqueue()
    return max(_rate(enqueue, threads) for threads in THREADS)


def name_of(package: str) -> str:
    """Give a peer's name with its version."""
    return f"{package} {version(package)}"


def _rate(enqueue: Enqueue, threads: int) -> float:
    counts: list[int] = []
    start = time.perf_counter()

    def produce() -> None:
        made = 0
        while time.perf_counter() < start + FOR_S:
            enqueue()
            made += 1
        counts.append(made)

    crew = [threading.Thread(target=produce) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def _nothing(payload: object) -> None:
    """Stand for a task; nothing executes it."""
