"""How many runs a filter matches, counted only as long as counting costs little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from django.db import OperationalError, connection, transaction

from runs.models import TaskRun
from runs.selectors import RunFilter, condition_of

MAX_COUNTED: Final = 10_000
TIMEOUT_MS: Final = 250
QUERY_CANCELED: Final = "57014"  # what PostgreSQL calls a statement that took too long


class RunCounts(NamedTuple):
    """How many runs match, by status."""

    by_status: Mapping[str, int]  # stored names; of the newest matches only, when not complete
    is_complete: bool  # false: there are more matches than were counted

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.by_status.values())


def find_run_counts(
    *, environment_ids: Sequence[str], wanted: RunFilter, most: int = MAX_COUNTED
) -> RunCounts | None:
    """Find how many runs match; None when counting took longer than `TIMEOUT_MS`.

    Only the newest `most` matches and one more are counted, so that a list of millions costs no
    more than one of thousands.
    """
    matching = TaskRun.objects.filter(condition_of(wanted), environment_id__in=environment_ids)
    newest = matching.order_by("-id").values("status")[: most + 1]
    sql, values = newest.query.sql_with_params()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
            cursor.execute(
                f"SELECT status, count(*) FROM ({sql}) AS newest GROUP BY status",  # noqa: S608
                values,
            )
            counts = dict(cursor.fetchall())
            # The surrounding transaction, if there is one, goes on without the bound.
            cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
            raise
        return None
    return RunCounts(counts, is_complete=sum(counts.values()) <= most)
