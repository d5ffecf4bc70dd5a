"""Laws of batches: an item's run is that of a single trigger, and lines are found in any pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.batch_statement import array_text
from runs.batches import BatchItem, NewBatch
from runs.calls import TriggerCall
from runs.services.batch_items import add_items, get_open_batch
from runs.services.batches import create_batch
from runs.services.trigger import trigger_run
from tests.running import REGION, check_books, make_world, rows_of
from tests.sizes import examples
from webapp.api.batch_body import Upload, read_item
from webapp.api.errors import ApiError
from webapp.api.ndjson import Line, lines_of

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


@pytest.mark.django_db
@settings(
    max_examples=examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(calls=st.lists(CALLS, min_size=1, max_size=6))
def test_an_item_makes_the_rows_of_a_single_trigger(db: None, calls: list[TriggerCall]) -> None:
    """Run, first snapshot, place, key and lane are the same; ids and the place in line are not."""
    world = make_world()
    singly = [trigger_run(world.caller, call, now=NOW).run_id for call in calls]
    world_rows = [_rows(run_id) for run_id in singly]
    # The same again in the same environment, without the keys that the first have taken.
    _forget_keys()
    batch_id = create_batch(world.caller, NewBatch(run_count=len(calls)), rate=None, now=NOW).id
    batch = get_open_batch(environment_id=world.environment_id, batch_id=batch_id)
    items = [BatchItem(index, call) for index, call in enumerate(calls)]
    assert add_items(world.caller, batch, items, now=NOW).is_sealed
    made = rows_of(
        "SELECT run_id FROM runs_batchitem WHERE batch_id = %s ORDER BY item_index", batch_id
    )
    assert [_rows(run_id) for (run_id,) in made] == world_rows
    for index, (call, (run_id,)) in enumerate(zip(calls, made, strict=True)):
        ((score,),) = rows_of("SELECT score FROM runs_taskrun WHERE id = %s", run_id)
        at = call.delay_until or NOW + timedelta(milliseconds=index)
        assert score == int(at.timestamp() * 1000) - call.priority_ms
    check_books()


def _forget_keys() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs_idempotencykey SET key = 'was ' || run_id")


def _rows(run_id: str) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Give everything a trigger wrote about a run, without what differs by its nature."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM runs_taskrun WHERE id = %s", [run_id])
        names = [column.name for column in cursor.description]
        run = dict(zip(names, cursor.fetchone(), strict=True))
    (places,) = rows_of(PLACES, run_id)
    return {name: value for name, value in run.items() if name not in APART}, places


def _in_pieces(sizes: Iterable[int], data: bytes) -> Callable[[int], bytes]:
    """Give a reader that hands out the data in pieces of these sizes, then the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    pieces.append(data[at:])
    waiting = iter([piece for piece in pieces if piece])
    return lambda _most: next(waiting, b"")


@given(
    st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.lists(st.integers(1, 20), max_size=20),
    st.integers(1, 40),
)
def test_lines_do_not_depend_on_how_they_arrive(
    lines: list[bytes], sizes: list[int], most: int
) -> None:
    """The same lines with the same numbers, whole up to the limit, whatever the pieces were."""
    found = list(lines_of(_in_pieces(sizes, b"\n".join(lines)), most_bytes=most))
    wanted = [(n, line) for n, line in enumerate(lines, 1) if line and not line.isspace()]
    assert [(one.number, one.data) for one in found] == wanted
    assert [one.is_too_long for one in found] == [len(line) > most for _, line in wanted]


@pytest.mark.django_db
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | TEXTS, max_size=6))
def test_an_array_is_read_as_it_was_written(db: None, texts: list[str | None]) -> None:
    """PostgreSQL finds every text again, whatever characters it has."""
    assert rows_of("SELECT %s::text[]", array_text(texts)) == [(texts,)]


# What lines of one upload may say: often the same, at times with a key or a list of their own.
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "payloadType": st.sampled_from(
            ["application/json", "application/super+json", "text/plain"]
        ),
        "payloadSize": st.integers(0, 9),
        "idempotencyKey": st.sampled_from(["", "a", "b" * 2000]),
        "idempotencyKeyTTL": st.sampled_from(["1h", "7d", "nonsense"]),
        "idempotencyKeyOptions": st.sampled_from([{"key": "typed"}, {"key": ["x", "y"]}]),
        "tags": st.sampled_from(["one", ["one", "two"]]),
        "metadata": st.sampled_from(['{"m":1}', {"m": 1}]),
        "priority": st.sampled_from([1, 1.0, 0]),
        "maxAttempts": st.sampled_from([1, 2]),
        "test": st.booleans(),
        "delay": st.sampled_from(["1h", "2h"]),
        "concurrencyKey": st.sampled_from(["1", 1]),
        "debounce": st.just({"key": "k", "delay": "1s"}),
    },
)
LINES = st.lists(
    st.fixed_dictionaries(
        {"task": st.sampled_from(["hello", "other"]), "payload": st.sampled_from(["1", 1, None])},
        optional={"options": OPTIONS | st.none()},
    ),
    max_size=12,
)


@given(LINES)
def test_items_that_share_a_call_ask_for_what_they_would_alone(lines: list[dict[str, Any]]) -> None:
    """Whatever came before it in the upload, an item is the item of its line."""
    together = Upload(len(lines), "api", NOW, {})
    for index, fields in enumerate(lines):
        line = Line(1, json.dumps({"index": index, **fields}).encode(), is_too_long=False)
        alone = Upload(len(lines), "api", NOW, {})
        assert _outcome(line, together) == _outcome(line, alone)


def _outcome(line: Line, upload: Upload) -> object:
    try:
        item = read_item(line, upload)
    except ApiError as refused:
        return refused.answer
    own = {} if item.own is None else item.own._asdict()
    return item.index, item.failure, replace(item.call, **own)
