"""Keep what attempts write."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from runs.contracts import LogBatch, LogLine

MAX_LINES = 10_000
CUT = f"... cut: a run keeps {MAX_LINES} lines, this one included"


@transaction.atomic
def append_logs(*, run_id: str, batch: LogBatch) -> int:
    """Store the lines that are not there yet and give how many; beyond the limit, mark the cut.

    Lines are known by (run, attempt, seq), so a batch may be sent again. The caller has checked
    that the run is the sender's.
    """
    with connection.cursor() as cursor:
        # Batches of one run take turns, so that the limit is exact and the cut is marked once.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", [run_id])
        cursor.execute("SELECT count(*) FROM runs_runlog WHERE run_id = %s", [run_id])
        room = MAX_LINES - cursor.fetchone()[0]
        lines = _new_lines(cursor, run_id, batch)[:room] if room > 0 else []
        if not lines:
            return 0
        if len(lines) == room:
            cut = LogLine(seq=lines[-1].seq, at=lines[-1].at, stream="log", level="warn", text=CUT)
            lines[-1] = cut
        cursor.executemany(
            "INSERT INTO runs_runlog (run_id, attempt, seq, at, stream, level, text)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [_row(run_id, batch.attempt, line) for line in lines],
        )
    return len(lines)


def _new_lines(cursor: CursorWrapper, run_id: str, batch: LogBatch) -> list[LogLine]:
    """Give the lines of a batch that are not stored, each number once."""
    lines = {line.seq: line for line in reversed(batch.lines)}
    cursor.execute(
        "SELECT seq FROM runs_runlog WHERE run_id = %s AND attempt = %s AND seq = ANY (%s)",
        [run_id, batch.attempt, list(lines)],
    )
    for (seq,) in cursor.fetchall():
        del lines[seq]
    return list(reversed(lines.values()))


def _row(run_id: str, attempt: int, line: LogLine) -> tuple[str | int | datetime | None, ...]:
    at = datetime.fromtimestamp(min(max(line.at, 0), 4_102_444_800_000) / 1000, UTC)
    return (run_id, attempt, line.seq, at, line.stream, line.level, line.text)
