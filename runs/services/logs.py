"""Keep what attempts write."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection, transaction

from runs.contracts import LogBatch, LogLine

MAX_LINES = 10_000
CUT = f"... cut: a run keeps its first {MAX_LINES} lines"


@transaction.atomic
def append_logs(*, run_id: str, batch: LogBatch) -> int:
    """Store the lines that are not there yet and give how many; beyond the limit, mark the cut.

    Lines are known by (run, attempt, seq), so a batch may be sent again. The caller has checked
    that the run is the sender's.
    """
    if not batch.lines:
        return 0
    with connection.cursor() as cursor:
        # Batches of one run take turns, so that the limit is exact and the cut is marked once.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", [run_id])
        cursor.execute("SELECT count(*) FROM runs_runlog WHERE run_id = %s", [run_id])
        room = MAX_LINES - cursor.fetchone()[0]
        if room <= 0:
            return 0
        rows = [_row(run_id, batch.attempt, line) for line in batch.lines[:room]]
        if len(rows) == room:
            last = batch.lines[room - 1]
            marked = LogLine(seq=last.seq, at=last.at, stream="log", level="warn", text=CUT)
            rows[-1] = _row(run_id, batch.attempt, marked)
        cursor.executemany(
            "INSERT INTO runs_runlog (run_id, attempt, seq, at, stream, level, text)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            rows,
        )
        stored: int = cursor.rowcount
        return max(stored, 0)


def _row(run_id: str, attempt: int, line: LogLine) -> tuple[str | int | datetime | None, ...]:
    at = datetime.fromtimestamp(min(max(line.at, 0), 4_102_444_800_000) / 1000, UTC)
    text = line.text.replace("\x00", "\ufffd")  # PostgreSQL's text has no NUL
    return (run_id, attempt, line.seq, at, line.stream, line.level, text)
