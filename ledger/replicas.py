"""How a process tells up to which revision it follows the ledger, so that staff can see it.

A report is a row of the process' own, renewed every few seconds and as soon as it serves another
revision. It goes to the database, which is the only thing every process reaches also when Redis is
away, and takes no revision: it changes nothing that anybody decides from.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog
from django.db import connection

from ledger.connections import release_connections
from ledger.forks import renew_after_fork
from ledger.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.feed import Feed

REPORT_S = 5.0  # between two reports of the same revision
RETRY_S = 1.0  # after a report that failed
LOOK_S = 0.5  # between two looks, in memory, at whether the revision moved
STOP_TIMEOUT_S = 5.0
MAX_HOST_CHARS = 255

# Rows of processes that are long gone go with any report; one that somebody holds can wait.
_REPORT_SQL = """
WITH gone AS (
    DELETE FROM ledger_replica WHERE id IN (
        SELECT id FROM ledger_replica
        WHERE seen_at < now() - interval '5 minutes' AND id <> %(id)s
        FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO ledger_replica (id, process, host, pid, revision, age_ms, seen_at)
VALUES (%(id)s, %(process)s, %(host)s, %(pid)s, %(revision)s, %(age_ms)s, clock_timestamp())
ON CONFLICT (id) DO UPDATE
SET revision = excluded.revision, age_ms = excluded.age_ms, seen_at = excluded.seen_at
"""

log = structlog.get_logger(__name__)


class Report(NamedTuple):
    """What a process says of itself."""

    id: str
    process: str
    host: str
    pid: int
    revision: int | None
    age_ms: int | None


def record_report(report: Report) -> None:
    """Store a report in place of the process' last one."""
    with connection.cursor() as cursor:
        cursor.execute(_REPORT_SQL, report._asdict())


def forget_replica(replica_id: str) -> None:
    """Remove the row of a process that ends."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM ledger_replica WHERE id = %s", [replica_id])


class Reporter:
    """Reports for one process, from a thread of its own; a failed report is made up for later."""

    def __init__(
        self,
        feed: Feed,
        *,
        process: str,
        record: Callable[[Report], None] = record_report,
        forget: Callable[[str], None] = forget_replica,
        release: Callable[[], None] = release_connections,
        report_s: float = REPORT_S,
        retry_s: float = RETRY_S,
        look_s: float = LOOK_S,
    ) -> None:
        """Make a reporter of the process called `process`; it is not started."""
        self._feed = feed
        self._process = process
        self._record = record
        self._forget = forget
        self._release = release
        self._report_s = report_s
        self._retry_s = retry_s
        self._look_s = look_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        renew_after_fork(self)

    def start(self) -> None:
        """Start the thread. Starting twice is starting once."""
        if self._thread is not None:
            return
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(new_id("replica"), self._stopping), name="reporter", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the thread, waiting at most `timeout_s`; the row goes with it."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout_s)

    def after_fork(self) -> None:
        """Go on in a forked child, which is a replica of its own."""
        was_started, self._thread = self._thread is not None, None
        if was_started:
            self.start()

    def _run(self, replica_id: str, stopping: threading.Event) -> None:
        """Report until stopped: when the revision moved, and now and then anyway."""
        said: int | None = None
        due_s = time.monotonic()
        while not stopping.is_set():
            revision = self._feed.served_revision
            if revision != said or time.monotonic() >= due_s:
                report, said = self._report(replica_id, revision), revision
                was_said = self._try(partial(self._record, report))
                due_s = time.monotonic() + (self._report_s if was_said else self._retry_s)
            stopping.wait(self._look_s)
        self._try(partial(self._forget, replica_id))

    def _report(self, replica_id: str, revision: int | None) -> Report:
        age_s = self._feed.oldest_snapshot_s
        return Report(
            id=replica_id,
            process=self._process,
            host=socket.gethostname()[:MAX_HOST_CHARS],
            pid=os.getpid(),
            revision=revision,
            age_ms=None if age_s is None else round(age_s * 1000),
        )

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception as error:  # noqa: BLE001  # whatever it was, the next report may succeed
            log.warning("reporter.failed", error=repr(error))
            return False
        finally:
            self._release()
        return True
