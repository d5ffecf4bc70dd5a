"""Whether runners can be heard, and the time they are given back after nobody could hear them.

Silence says that a workload is dead only while somebody listens. Every web process notes each
second that it does; the one that finds the note old gives every lease the time nobody listened, and
until then no lease counts as run out. All times are the database's, so its own outage counts too.
"""

from __future__ import annotations

from typing import Final

import structlog
from django.conf import settings
from django.db import connection, transaction

log = structlog.get_logger(__name__)

DEAF_AFTER_S: Final = 5.0  # several missed notes; a living workload's lease always has more left

_NOTE = """
UPDATE runs_presence SET heard_at = clock_timestamp()
WHERE id = 1 AND heard_at > clock_timestamp() - %s * interval '1 second'
"""
_LAST = """
SELECT extract(epoch FROM clock_timestamp() - heard_at)::float8 FROM runs_presence
WHERE id = 1 FOR UPDATE
"""
_NOTE_AGAIN = """
INSERT INTO runs_presence (id, heard_at) VALUES (1, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at
"""
# At most a whole timeout from now: a lease made after the return has lost nothing. An attempt that
# ended in time meanwhile can say so only now.
_GIVE_BACK = """
UPDATE runs_lease SET
  attempt_ends_at = attempt_ends_at + %(deaf)s * interval '1 second',
  due_at = greatest(due_at, least(
    due_at + %(deaf)s * interval '1 second',
    clock_timestamp() + %(most)s * interval '1 millisecond'))
"""


def note_presence() -> float:
    """Note that runners are heard here; give the seconds for which nobody had heard them before.

    That is 0.0 but for the first note after an outage, which gives that time back to all leases.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, [DEAF_AFTER_S])
        if cursor.rowcount == 1:
            return 0.0
    return _return()


@transaction.atomic
def _return() -> float:
    """Note it after a while without; of several processes the first one gives the time back."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST)
        row = cursor.fetchone()
        deaf_s = 0.0 if row is None or row[0] <= DEAF_AFTER_S else float(row[0])
        if deaf_s:
            most_ms = max(
                settings.ENV.timeout_executing_ms,
                settings.ENV.timeout_executing_with_waitpoints_ms,
                settings.ENV.timeout_pending_executing_ms,
            )
            cursor.execute(_GIVE_BACK, {"deaf": deaf_s, "most": most_ms})
            log.warning("leases.extended", deaf_s=round(deaf_s, 1), leases=cursor.rowcount)
        cursor.execute(_NOTE_AGAIN)
    return deaf_s


def is_listening() -> bool:
    """Tell whether somebody has noted lately that runners can be heard."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM runs_presence WHERE heard_at > now() - %s * interval '1 second'",
            [DEAF_AFTER_S],
        )
        return cursor.fetchone() is not None
