"""The queues a version declares, kept beside what operators decided about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connection

from ledger.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from deployments.manifest import QueueManifest

# Rows come sorted by name, so that two deploys take their locks in the same order. A queue that an
# operator overrode keeps the operator's limit, and a paused one stays paused.
UPSERT_QUEUES: Final = """
    INSERT INTO deployments_taskqueue AS queue
        (id, environment_id, name, type, concurrency_limit, declared_limit, paused, created_at)
    SELECT declared.id, %(environment)s, declared.name, declared.type, declared.max, declared.max,
           false, %(now)s
    FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(limits)s::integer[])
         WITH ORDINALITY AS declared (id, name, type, max, position)
    ORDER BY declared.position
    ON CONFLICT (environment_id, name) DO UPDATE SET
        type = EXCLUDED.type,
        declared_limit = EXCLUDED.declared_limit,
        concurrency_limit = CASE WHEN queue.overridden_at IS NULL
            THEN EXCLUDED.declared_limit ELSE queue.concurrency_limit END
    WHERE queue.type IS DISTINCT FROM EXCLUDED.type
       OR queue.declared_limit IS DISTINCT FROM EXCLUDED.declared_limit
"""


def upsert_queues(*, environment_id: str, queues: Sequence[QueueManifest], now: datetime) -> None:
    """Write the declared queues of a version (sorted by name, each once) in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            UPSERT_QUEUES,
            {
                "environment": environment_id,
                "now": now,
                "ids": [new_id("queue") for _ in queues],
                "names": [queue.name for queue in queues],
                "types": [queue.type for queue in queues],
                "limits": [queue.concurrency_limit for queue in queues],
            },
        )
