"""Calls of all kinds, and everything that a trigger wrote about a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from hypothesis import strategies as st

from runs.calls import TriggerCall
from tests.running import REGION, rows_of

NOW = datetime.now(UTC).replace(microsecond=0)
# What PostgreSQL can hold; quotes, backslashes, braces and commas among it.
TEXTS = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12
) | st.sampled_from(['"', "\\", "{}", "NULL", ",", "a\nb", "'"])
SOME = st.none() | TEXTS


def _call(fields: dict[str, Any]) -> TriggerCall:
    return TriggerCall(**{"task": "hello", **fields})


CALLS = st.fixed_dictionaries(
    {},
    optional={
        "task": st.sampled_from(["hello", "nobody-has-it"]),
        "payload": SOME,
        "payload_type": st.sampled_from(["application/json", "text/plain"]),
        "metadata": SOME,
        "tags": st.lists(TEXTS, max_size=3).map(tuple),
        "queue": st.sampled_from([None, "q", "task/other"]),
        "concurrency_key": TEXTS,
        "delay_until": st.sampled_from([None, NOW + timedelta(hours=1), NOW + timedelta(days=2)]),
        "ttl_s": st.none() | st.integers(0, 10**6),
        "priority_ms": st.integers(-(2**31) + 1, 2**31 - 1),
        "machine": st.sampled_from([None, "micro", "large-1x"]),
        "max_attempts": st.none() | st.integers(1, 2**31 - 1),
        "max_duration_s": st.none() | st.integers(5, 10**6),
        "region": st.sampled_from([None, REGION]),
        "is_test": st.booleans(),
        "idempotency_key": st.none() | st.uuids().map(str),
        "idempotency_key_shown": SOME,
        "idempotency_key_ttl_s": st.sampled_from([1000, 2_592_000]),
        "trigger_source": st.sampled_from(["api", "sdk"]),
    },
).map(_call)

# What differs by its nature: ids, what is made of them, the place in line, and the batch itself.
APART = {"id", "snapshot_id", "batch_id", "score"}
PLACES = """
SELECT (SELECT count(*) FROM runs_readyentry e WHERE e.run_id = r.id AND e.lane_id = r.lane_id
          AND e.score = r.score),
  (SELECT count(*) FROM runs_delayedentry e WHERE e.run_id = r.id AND e.due_at = r.delay_until),
  (SELECT count(*) FROM runs_versionwait e WHERE e.run_id = r.id AND e.task_slug = r.task_slug
     AND e.environment_id = r.environment_id),
  (SELECT array_agg((s.execution_status, s.run_status, s.event, s.description, s.is_valid,
     s.created_at)::text) FROM runs_runsnapshot s WHERE s.run_id = r.id AND s.id = r.snapshot_id),
  (SELECT array_agg((k.key, k.task_slug, k.expires_at)::text) FROM runs_idempotencykey k
     WHERE k.run_id = r.id),
  (SELECT count(*) FROM runs_lane l WHERE l.id = r.lane_id)
FROM runs_taskrun r WHERE r.id = %s
"""


def rows_of_run(run_id: str) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Give everything a trigger wrote about a run, without what differs by its nature."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM runs_taskrun WHERE id = %s", [run_id])
        names = [column.name for column in cursor.description]
        run = dict(zip(names, cursor.fetchone(), strict=True))
    (places,) = rows_of(PLACES, run_id)
    return {name: value for name, value in run.items() if name not in APART}, places
