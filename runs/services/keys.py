"""Idempotency keys of runs: forgetting one at its owner's wish."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from runs.errors import KeyNotHeld


def reset_key(*, environment_id: str, task: str, key: str, now: datetime) -> None:
    """Free a key, so that the next trigger with it makes a new run; its run goes on as it is.

    `key` is in the form that triggers store. Raise `KeyNotHeld` when no run of the task holds it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM runs_idempotencykey WHERE environment_id = %s AND task_slug = %s"
            " AND key = %s AND expires_at > %s",
            [environment_id, task, key, now],
        )
        if cursor.rowcount == 0:
            raise KeyNotHeld
