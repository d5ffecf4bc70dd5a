"""Add tags to a run."""

from __future__ import annotations

from django.db import connection, transaction

from runs.calls import MAX_TAGS
from runs.errors import RunNotFound
from tenants.errors import Refused


@transaction.atomic
def add_tags(*, environment_id: str, run_id: str, tags: list[str]) -> int:
    """Add the tags the run does not have yet and give how many; more than ten is `Refused`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tags FROM runs_taskrun WHERE id = %s AND environment_id = %s FOR UPDATE",
            [run_id, environment_id],
        )
        row = cursor.fetchone()
        if row is None:
            raise RunNotFound(run_id)
        new = [tag for tag in dict.fromkeys(tags) if tag not in row[0]]
        if len(row[0]) + len(new) > MAX_TAGS:
            total = len(row[0]) + len(new)
            raise Refused(f"tags: a run has at most {MAX_TAGS} tags, this would make {total}")
        if new:
            cursor.execute(
                "UPDATE runs_taskrun SET tags = tags || %s, updated_at = clock_timestamp()"
                " WHERE id = %s",
                [new, run_id],
            )
    return len(new)
