"""How many runs a filter matches, and when they were made: counted while that costs little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from django.db import OperationalError, connection, transaction

from runs.models import TaskRun
from runs.run_filter import RunFilter
from runs.selectors import condition_of

MAX_COUNTED: Final = 10_000
STEPS: Final = 48  # of the time that is looked at
TIMEOUT_MS: Final = 250
QUERY_CANCELED: Final = "57014"  # what PostgreSQL calls a statement that took too long

# The newest matches, each in its step between the first of them, or what the filter says, and now.
_COUNT = """
WITH newest AS MATERIALIZED ({newest}),
bounds AS (
  SELECT coalesce(%s::timestamptz, min(created_at)) AS low,
         greatest(%s::timestamptz, max(created_at)) AS high FROM newest
)
SELECT newest.status, bounds.low, bounds.high,
  least({steps} - 1, greatest(0, floor(extract(epoch FROM newest.created_at - bounds.low)
    / greatest(extract(epoch FROM bounds.high - bounds.low), 0.001) * {steps})))::int AS step,
  count(*)
FROM newest, bounds GROUP BY 1, 2, 3, 4
"""


class RunCounts(NamedTuple):
    """How many runs match, by status, and by status and time."""

    by_status: Mapping[str, int]  # stored names; of the newest matches only, when not complete
    is_complete: bool  # false: there are more matches than were counted
    by_step: Mapping[tuple[int, str], int] = {}  # step from 0 to `STEPS` - 1, and status
    since: datetime | None = None  # where the first step begins; None: nothing was counted
    until: datetime | None = None  # where the last step ends

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.by_status.values())


def find_run_counts(
    *,
    environment_ids: Sequence[str],
    wanted: RunFilter,
    now: datetime,
    most: int = MAX_COUNTED,
) -> RunCounts | None:
    """Find how many runs match; None when counting took longer than `TIMEOUT_MS`.

    Only the newest `most` matches and one more are counted, so that a list of millions costs no
    more than one of thousands.
    """
    matching = TaskRun.objects.filter(condition_of(wanted), environment_id__in=environment_ids)
    newest = matching.order_by("-id").values("status", "created_at")[: most + 1]
    sql, values = newest.query.sql_with_params()
    bounds = (wanted.created_from, wanted.created_to or now)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
            cursor.execute(_COUNT.format(newest=sql, steps=STEPS), (*values, *bounds))
            rows = cursor.fetchall()
            # The surrounding transaction, if there is one, goes on without the bound.
            cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
            raise
        return None
    return _counts(rows, most)


def _counts(rows: Sequence[tuple[str, datetime, datetime, int, int]], most: int) -> RunCounts:
    by_status: Counter[str] = Counter()
    by_step = {}
    for status, _low, _high, step, count in rows:
        by_status[status] += count
        by_step[step, status] = count
    low, high = (rows[0][1], rows[0][2]) if rows else (None, None)
    return RunCounts(dict(by_status), by_status.total() <= most, by_step, low, high)
