"""The body of a trigger: each field's types and limits, and a refusal that names the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs.calls import TriggerCall
from tenants.errors import Invalid, Refused
from webapp.api.trigger_body import MAX_INDEXED_BYTES, Headers, read_trigger

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def read(raw: bytes | dict[str, Any], *, task: str = "hello", **headers: str) -> TriggerCall:
    """Read a body with these headers."""
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return read_trigger(data, task=task, headers=Headers(environ), now=NOW)


def options(**given: Any) -> TriggerCall:
    """Read a body of options only."""
    return read({"options": given})


def key_refused(raw: bytes | dict[str, Any], **headers: str) -> str:
    """Give the field that a refused body's first problem names."""
    with pytest.raises(Invalid) as refused:
        read(raw, **headers)
    (problem, *_) = refused.value.problems
    assert str(refused.value) == f"{problem.key}: {problem.message}"
    return problem.key


WRONG: list[tuple[str, Any]] = [
    ("queue", "name"),
    ("queue", {"name": 5}),
    ("concurrencyKey", True),
    ("concurrencyKey", {}),
    ("concurrencyKey", "x" * 513),
    ("delay", 5),
    ("ttl", "soon"),
    ("ttl", -1),
    ("ttl", 1.5),
    ("ttl", True),
    ("idempotencyKey", 5),
    ("idempotencyKey", "x" * 2049),
    ("idempotencyKeyTTL", 5),
    ("idempotencyKeyOptions", "global"),
    ("idempotencyKeyOptions", {"scope": "planet"}),
    ("machine", "huge"),
    ("machine", []),
    ("machine", {"preset": "micro"}),
    ("machine", 1),
    ("maxAttempts", 0),
    ("maxAttempts", "3"),
    ("maxAttempts", 2**31),
    ("maxDuration", -1),
    ("maxDuration", "60"),
    ("maxDuration", 2**31),
    ("metadata", []),
    ("metadata", 5),
    ("metadata", "no object"),
    ("metadata", "[1]"),
    ("metadata", "[" * 5000 + "]" * 5000),
    ("metadata", '{"a": NaN}'),
    ("metadataType", 5),
    ("payloadType", "image/png"),
    ("payloadType", "application/store"),
    ("tags", 5),
    ("tags", ["ok", 5]),
    ("tags", ["x" * 129]),
    ("priority", "high"),
    ("priority", True),
    ("region", 5),
    ("region", "x" * 201),
    ("lockToVersion", 5),
    ("debounce", "x"),
    ("test", "true"),
    ("test", 1),
    ("parentRunId", 5),
    ("tags", "with\x00nul"),
    ("region", "with\x00nul"),
    ("concurrencyKey", "with\x00nul"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    """Every option of a wrong type, or beyond its limit, is a 400 that names it."""
    assert key_refused({"options": {field: value}}).split(".")[:2] == ["options", field]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"payload": NaN}',
        b'{"payload": [1e999]}',
        b'{"payload": -Infinity}',
    ],
)
def test_a_payload_that_no_json_can_hold_is_refused(raw: bytes) -> None:
    """NaN and Infinity would be read back as something that is no JSON."""
    assert key_refused(raw) == "payload"


@pytest.mark.parametrize("raw", [b"{", b'{"payload": \xff}', b'"\\ud800"', b"[" * 4000])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    """A body that cannot be parsed has one sentence, whatever is wrong with it."""
    with pytest.raises(Invalid, match=r"^Invalid JSON$"):
        read(raw)


@pytest.mark.parametrize("raw", [b"", b"  \n"])
def test_an_empty_body_is_refused(raw: bytes) -> None:
    """An empty body says so."""
    with pytest.raises(Invalid, match="Request body is empty"):
        read(raw)


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"text"'])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    """JSON that is no object names the body."""
    assert key_refused(raw) == "body"


def test_null_is_as_good_as_nothing() -> None:
    """Clients that write every key as null trigger as those that leave them out."""
    names = sorted({field for field, _ in WRONG} | {"externalDeploymentId"})
    assert options(**dict.fromkeys(names)) == options() == read({"options": None})


def test_unknown_keys_are_left_alone() -> None:
    """Newer clients may send more."""
    assert read({"x": 1, "options": {"concurrency": [], "y": 2}}) == options()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, None),
        ({"payload": None}, "null"),
        ({"payload": {"a": [1, "ä"]}}, '{"a":[1,"\\u00e4"]}'),
        ({"payload": "a\x00b"}, '"a\\u0000b"'),
        ({"payload": "plain", "options": {"payloadType": "text/plain"}}, "plain"),
        (
            {"payload": '{"json":1}', "options": {"payloadType": "application/super+json"}},
            '{"json":1}',
        ),
    ],
)
def test_a_payload_is_kept_as_its_type_says(body: dict[str, Any], text: str | None) -> None:
    """JSON is written anew, in characters that every column holds; text stays as it is."""
    assert read(body).payload == text


def test_typed_payloads_are_strings() -> None:
    """Text and super JSON are sent as a string, without NUL."""
    for payload in (5, None, {"json": 1}, "a\x00b"):
        assert (
            key_refused({"payload": payload, "options": {"payloadType": "text/plain"}}) == "payload"
        )


def test_a_payload_is_kept_whole_up_to_many_levels() -> None:
    """A hundred nested lists come through."""
    assert read(b'{"payload": ' + b"[" * 100 + b"]" * 100 + b"}").payload == "[" * 100 + "]" * 100


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"tags": "one"}, {"tags": ("one",)}),
        ({"tags": ["b", "a", "b", " "]}, {"tags": ("b", "a")}),
        ({"concurrencyKey": 7}, {"concurrency_key": "7"}),
        ({"ttl": "1h30m"}, {"ttl_s": 5400}),
        ({"ttl": 0}, {"ttl_s": 0}),
        ({"maxDuration": 1}, {"max_duration_s": 5}),
        ({"maxDuration": 60.9}, {"max_duration_s": 60}),
        ({"priority": 1.5}, {"priority_ms": 1500}),
        ({"priority": 1e300}, {"priority_ms": 2**31 - 1}),
        ({"priority": -1e300}, {"priority_ms": 1 - 2**31}),
        ({"queue": {"name": "e-mail queue!"}}, {"queue": "e-mailqueue"}),
        ({"queue": {"name": "x" * 200}}, {"queue": "x" * 128}),
        ({"queue": {"name": "!"}}, {"queue": None}),
        ({"region": ""}, {"region": None}),
        ({"metadata": {"a": 1}}, {"metadata": '{"a":1}'}),
        ({"metadata": '{"a": 1}'}, {"metadata": '{"a":1}'}),
        ({"delay": "1h"}, {"delay_until": NOW + timedelta(hours=1)}),
        ({"delay": "2026-11-22T13:00:00+00:00"}, {"delay_until": NOW + timedelta(hours=1)}),
        ({"delay": "2026-11-22T13:00:00"}, {"delay_until": NOW + timedelta(hours=1)}),
        ({"delay": "2020-01-01"}, {"delay_until": None}),
        ({"delay": "whenever"}, {"delay_until": None}),
        ({"delay": "9999-12-31T23:59:59-23:59"}, {"delay_until": None}),
        ({"idempotencyKeyTTL": "2h"}, {"idempotency_key_ttl_s": 7200}),
        ({"idempotencyKeyTTL": "1h30m"}, {"idempotency_key_ttl_s": 30 * 86_400}),
        ({"idempotencyKeyTTL": "9" * 5000 + "s"}, {"idempotency_key_ttl_s": 30 * 86_400}),
        ({"test": True}, {"is_test": True}),
        ({"machine": "micro"}, {"machine": "micro"}),
        ({"externalDeploymentId": " "}, {}),
    ],
)
def test_values_are_kept_as_the_protocol_says(given: dict[str, Any], kept: dict[str, Any]) -> None:
    """Each option has the meaning that clients rely on."""
    call = options(**given)
    assert {name: getattr(call, name) for name in kept} == kept


@pytest.mark.parametrize(
    "given", [{"debounce": {"key": "a", "delay": "1m"}}, {"externalDeploymentId": "abc"}]
)
def test_what_is_not_built_is_refused_rather_than_ignored(given: dict[str, Any]) -> None:
    """An option that would change what happens is answered 422."""
    with pytest.raises(Refused, match=next(iter(given))):
        options(**given)


def test_headers_beat_the_body() -> None:
    """The key and its lifetime may come as headers, which win."""
    body = {"options": {"idempotencyKey": "body", "idempotencyKeyTTL": "1h"}}
    call = read(body, idempotency_key="header", idempotency_key_ttl="2h")
    assert (call.idempotency_key, call.idempotency_key_ttl_s) == ("header", 7200)
    assert key_refused({}, idempotency_key="x" * 2049) == "idempotency-key"


def test_the_key_shown_is_what_was_typed() -> None:
    """What clients hashed is shown as the person wrote it, else the key itself."""
    typed = {"idempotencyKey": "ab" * 32, "idempotencyKeyOptions": {"key": ["order", "7"]}}
    assert options(**typed).idempotency_key_shown == "order-7"
    assert options(idempotencyKey="plain").idempotency_key_shown == "plain"


def test_a_key_too_large_for_an_index_is_known_by_its_digest() -> None:
    """Keys of many bytes stay different, are shown in full, and fit into an index entry."""
    one, other = "\u4e2d" * 2048, "\u4e2d" * 2047 + "\u6587"
    first, second = options(idempotencyKey=one), options(idempotencyKey=other)
    assert first.idempotency_key_shown == one
    assert first.idempotency_key != second.idempotency_key
    for call in (first, second):
        assert len((call.idempotency_key or "").encode()) <= MAX_INDEXED_BYTES


def test_who_asks_is_known_by_its_own_word() -> None:
    """Sources outside the list count as the API."""
    assert [read(b"{}", x_trigger_source=name).trigger_source for name in ("sdk", "cli", "x")] == [
        "sdk",
        "cli",
        "api",
    ]


@pytest.mark.parametrize("task", ["", "x" * 129, "a\x00b"])
def test_a_task_id_has_a_length(task: str) -> None:
    """An id that no task can have is refused."""
    with pytest.raises(Invalid, match="taskId"):
        read(b"{}", task=task)
