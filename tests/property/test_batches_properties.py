"""Laws of batches: an item's run is that of a single trigger, and lines are found in any pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.batches import BatchItem, NewBatch
from runs.calls import TriggerCall
from runs.rows_statement import array_text
from runs.services.batch_items import add_items, get_open_batch
from runs.services.batches import create_batch
from runs.services.trigger import trigger_run
from tests.running import check_books, make_world, rows_of
from tests.sizes import examples
from tests.trigger_rows import CALLS, NOW, TEXTS, rows_of_run
from webapp.api.batch_body import Upload, read_item
from webapp.api.errors import ApiError
from webapp.api.ndjson import Line, lines_of


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
    world_rows = [rows_of_run(run_id) for run_id in singly]
    # The same again in the same environment, without the keys that the first have taken.
    _forget_keys()
    batch_id = create_batch(world.caller, NewBatch(run_count=len(calls)), rate=None, now=NOW).id
    batch = get_open_batch(environment_id=world.environment_id, batch_id=batch_id)
    items = [BatchItem(index, call) for index, call in enumerate(calls)]
    assert add_items(world.caller, batch, items, now=NOW).is_sealed
    made = rows_of(
        "SELECT run_id FROM runs_batchitem WHERE batch_id = %s ORDER BY item_index", batch_id
    )
    assert [rows_of_run(run_id) for (run_id,) in made] == world_rows
    for index, (call, (run_id,)) in enumerate(zip(calls, made, strict=True)):
        ((score,),) = rows_of("SELECT score FROM runs_taskrun WHERE id = %s", run_id)
        at = call.delay_until or NOW + timedelta(milliseconds=index)
        assert score == int(at.timestamp() * 1000) - call.priority_ms
    check_books()


def _forget_keys() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs_idempotencykey SET key = 'was ' || run_id")


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
