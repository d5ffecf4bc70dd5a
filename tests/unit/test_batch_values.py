"""Batches without a database: lines, items, states, the text of arrays and of the statement."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest

from runs.batch_statement import BATCH_COLUMNS, ItemRow, OwnColumns, shape_of
from runs.batches import PAYLOAD_TOO_LARGE, UNPROCESSABLE, BatchStatus, Tally, decide_batch_status
from runs.rows_statement import LEFT_OUT_WHEN_EMPTY, array_text
from tenants.errors import Invalid
from tests.factories import NOW
from webapp.api.batch_body import Upload, read_item
from webapp.api.errors import ApiError
from webapp.api.ndjson import HEAD_BYTES, Line, lines_of
from webapp.env import InvalidEnvironment, read_env

UPLOAD = Upload(run_count=3, source="sdk", now=NOW, calls={})
ENVIRONMENT = {
    "DJANGO_SECRET_KEY": "s",
    "CROSSFADE_ENCRYPTION_KEYS": "k",
    "MANAGED_WORKER_SECRET": "m",
    "DATABASE_URL": "postgres://nobody@localhost/nothing",
    "REDIS_URL": "redis://localhost",
}


def line_of(**fields: Any) -> Line:
    """Give the line of an item."""
    return Line(1, json.dumps({"index": 0, "task": "hello", **fields}).encode(), is_too_long=False)


@pytest.mark.parametrize(
    ("tally", "status"),
    [
        (Tally(3, 0, 0, 0), BatchStatus.PENDING),
        (Tally(3, 2, 0, 2), BatchStatus.PROCESSING),
        (Tally(3, 2, 2, 0), BatchStatus.PROCESSING),
        (Tally(3, 3, 0, 1), BatchStatus.PROCESSING),
        (Tally(3, 3, 0, 0), BatchStatus.COMPLETED),
        (Tally(3, 3, 1, 1), BatchStatus.PARTIAL_FAILED),
        (Tally(3, 3, 3, 0), BatchStatus.ABORTED),
    ],
)
def test_the_state_of_a_batch(tally: Tally, status: BatchStatus) -> None:
    """Missing items come first, then items that are no runs, then runs that are not over."""
    assert decide_batch_status(tally) is status


def test_lines_are_numbered_as_a_person_counts_them() -> None:
    """Blank lines are passed over and counted; the last line needs no end."""
    stream = BytesIO(b"one\n\n  \r\ntwo\r\nthree")
    found = [(line.number, line.data.strip()) for line in lines_of(stream.read, most_bytes=10)]
    assert found == [(1, b"one"), (4, b"two"), (5, b"three")]


def test_of_a_line_that_is_too_long_only_the_beginning_is_held() -> None:
    """However long it is; the next line is read as any other."""
    long = b"x" * 1_000_000
    found = list(lines_of(BytesIO(long + b"\nshort").read, most_bytes=100_000))
    assert [(line.is_too_long, len(line.data)) for line in found] == [
        (True, HEAD_BYTES),
        (False, 5),
    ]


def test_a_line_of_just_the_limit_is_whole() -> None:
    """The limit itself is allowed, one byte more is not."""
    for size, is_too_long in ((10, False), (11, True)):
        (line,) = lines_of(BytesIO(b"x" * size).read, most_bytes=10)
        assert (line.is_too_long, line.data) == (is_too_long, b"x" * size)


def test_an_item_is_a_trigger_with_an_index() -> None:
    """Options are those of a trigger, and it says that a batch triggered it."""
    options = {"tags": ["a"], "idempotencyKey": "k", "priority": 2}
    item = read_item(line_of(index=2, payload={"n": 1}, options=options), UPLOAD)
    assert (item.index, item.failure, item.call.payload) == (2, None, '{"n":1}')
    assert (item.call.tags, item.call.idempotency_key) == (("a",), "k")
    assert (item.call.trigger_function, item.call.trigger_source) == ("batchTrigger", "sdk")


@pytest.mark.parametrize("data", [b"{", b"nothing", b'{"index":0,"task":"\xff"}', b"{} {}"])
def test_what_is_no_json_is_a_bad_request(data: bytes) -> None:
    """It names the line."""
    with pytest.raises(Invalid, match="line 7: Invalid JSON"):
        read_item(Line(7, data, is_too_long=False), UPLOAD)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"index": 3}, "index"),
        ({"index": -1}, "index"),
        ({"index": "0"}, "index"),
        ({"index": True}, "index"),
        ({"task": ""}, "task"),
        ({"task": "x" * 129}, "task"),
        ({"task": None}, "task"),
        ({"options": {"machine": "huge"}}, "options.machine"),
        ({"options": {"payloadType": "application/store"}}, "options.payloadType"),
        ({"payload": 1, "options": {"payloadType": "text/plain"}}, "payload"),
    ],
)
def test_a_wrong_item_is_refused_by_name(fields: dict[str, Any], key: str) -> None:
    """422, and the problem names the field."""
    with pytest.raises(ApiError) as refused:
        read_item(line_of(**fields), UPLOAD)
    assert refused.value.answer.status == 422
    assert refused.value.answer.problems[0].key == key


def test_an_option_that_is_not_built_fails_its_item_alone() -> None:
    """Nobody's other items suffer from it."""
    item = read_item(line_of(options={"debounce": {"key": "k", "delay": "1s"}}), UPLOAD)
    assert item.failure is not None
    assert (item.failure.code, item.index) == (UNPROCESSABLE, 0)


@pytest.mark.parametrize(
    "head", [b'{"index":1,"task":"a\\"b",', b' { "task" : "a\\"b" , "index" : 1 , "payload":']
)
def test_an_item_that_is_too_large_is_known_by_its_beginning(head: bytes) -> None:
    """Its index and its task are the first things it says."""
    item = read_item(Line(1, head + b"x" * 100, is_too_long=True), UPLOAD)
    assert item.failure is not None
    assert (item.index, item.call.task, item.failure.code) == (1, 'a"b', PAYLOAD_TOO_LARGE)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b'{"payload":"xxx', 413),
        (b'{"index":0,"task":"\xff",', 413),
        (b'{"index":0,"task":"",', 413),
        (b'{"index":3,"task":"a",', 422),
    ],
)
def test_a_large_item_that_does_not_say_what_it_is_fails_the_upload(
    head: bytes, status: int
) -> None:
    """It could not be told which item failed."""
    with pytest.raises(ApiError) as refused:
        read_item(Line(1, head, is_too_long=True), UPLOAD)
    assert refused.value.answer.status == status


def test_what_all_rows_share_travels_once() -> None:
    """Only what differs is an array; what nobody has is not sent at all."""
    shared = dict.fromkeys(BATCH_COLUMNS) | {"place": "ready", "task_slug": "hello", "tags": []}
    rows = [
        ItemRow(shared, OwnColumns(n, f"run_{n}", f"s_{n}", 7, f"p{n}", None, None, None))
        for n in range(2)
    ]
    shape, values = shape_of(rows)
    assert set(shape.apart) == {"item_index", "id", "snapshot_id", "payload"}
    assert (shape.places, shape.has_keys) == (("ready",), False)
    assert values["task_slug"] == "hello"
    assert values["payload"] == '{"p0","p1"}'
    assert not LEFT_OUT_WHEN_EMPTY & values.keys() - {"payload"}


def test_an_array_quotes_whatever_it_holds() -> None:
    """Quotes, backslashes, braces, commas and the word NULL are text; None is not."""
    assert array_text(['a"b\\', "{,}", "NULL", "", None]) == '{"a\\"b\\\\","{,}","NULL","",NULL}'


@pytest.mark.parametrize("text", ["", "1200,100,10", " 1 , 1 , 1 "])
def test_the_limit_of_batches_is_three_numbers(text: str) -> None:
    """Unset is no limit."""
    limit = read_env({**ENVIRONMENT, "BATCH_RATE_LIMIT": text}).batch_rate_limit
    assert limit == (tuple(map(int, text.split(","))) if text else None)


@pytest.mark.parametrize("text", ["1200", "1,2", "1,2,3,4", "0,1,1", "1,0,1", "1,1,0", "a,b,c"])
def test_another_limit_is_refused(text: str) -> None:
    """A process does not start with a limit it cannot read."""
    with pytest.raises(InvalidEnvironment, match="BATCH_RATE_LIMIT"):
        read_env({**ENVIRONMENT, "BATCH_RATE_LIMIT": text})
