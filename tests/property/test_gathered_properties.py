"""The law of triggers that are written together: each makes the rows it would make alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.calls import TriggerCall
from runs.services.trigger import columns_of, given_for, trigger_run
from runs.services.trigger_writes import write_together
from tests.running import check_books, make_world, rows_of
from tests.sizes import examples
from tests.trigger_rows import CALLS, NOW, rows_of_run

REQUESTS = "SELECT task_slug, key FROM runs_requestkey WHERE run_id = %s AND created_at = %s"


def _ready(call: TriggerCall) -> TriggerCall:
    """Give the call as one that may be written with others."""
    return replace(call, task="hello", delay_until=None, idempotency_key=None)


@pytest.mark.django_db
@settings(
    max_examples=examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    calls=st.lists(CALLS.map(_ready), min_size=2, max_size=6)
    | CALLS.map(_ready).map(lambda call: [call] * 3),
    are_keyed=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_triggers_together_make_the_rows_of_single_ones(
    db: None, calls: list[TriggerCall], are_keyed: list[bool]
) -> None:
    """Run, first snapshot, place, request key and lane are the same; ids are not."""
    world = make_world()
    singly = [trigger_run(world.caller, call, now=NOW).run_id for call in calls]
    keys = [f"request-{n}" if is_keyed else None for n, is_keyed in enumerate(are_keyed)]
    named = [replace(call, request_key=key) for call, key in zip(calls, keys, strict=False)]
    rows = [columns_of(given_for(world.caller, call, now=NOW)) for call in named]
    assert write_together(rows) == [True] * len(rows)
    together = [row["id"] for row in rows]
    assert [rows_of_run(run_id) for run_id in together] == [rows_of_run(one) for one in singly]
    for run_id, call in zip(together, named, strict=True):
        wanted = [] if call.request_key is None else [(call.task, call.request_key)]
        assert rows_of(REQUESTS, run_id, NOW) == wanted
    scores = "SELECT score FROM runs_taskrun WHERE id = ANY(%s) ORDER BY array_position(%s, id)"
    assert rows_of(scores, together, together) == rows_of(scores, singly, singly)
    check_books()
