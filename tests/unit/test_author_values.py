"""JSON, metadata, and the wait before a retry: the values a task author touches."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest

from crossfade import Metadata, NotJson
from crossfade.retry import DEFAULT_RETRY, retry_delay_ms
from crossfade.strict_json import to_json

LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"items": [1, 2, 3, {"when": dt.datetime.now(dt.UTC)}]},
         "output.items[3].when is a datetime; JSON has no dates: use .isoformat()"),
        ({"a b": {1}}, 'output["a b"] is a set; use a list'),
        (float("inf"), "output is inf, which JSON has no number for"),
        ([Decimal(1)], "output[0] is a Decimal; use str() or float()"),
        ({"id": uuid.UUID(int=0)}, "output.id is a UUID; use str()"),
        ({"x": {3: 1}}, "output.x has the key 3, an int; keys are text"),
        (b"x", "output is a bytes; use base64 or .decode()"),
        ("\ud800", "output is text with a lone surrogate, which is no character"),
        (object(), "output is an object"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_named_by_its_path(value: Any, said: str) -> None:
    """The first part that is not JSON is named, with what to do about it."""
    with pytest.raises(NotJson) as raised:
        to_json(value, name="output")
    assert str(raised.value) == said


def test_a_value_that_contains_itself_is_refused() -> None:
    """A loop is an error, not an endless walk."""
    with pytest.raises(NotJson, match="contains itself"):
        to_json(LOOP, name="output")


def test_the_default_policy() -> None:
    """A task without retry: 3 attempts, 1 s x 2^n spread upwards, at most a minute."""
    assert DEFAULT_RETRY.max_attempts == 3
    assert [retry_delay_ms(DEFAULT_RETRY, n, jitter=0) for n in (1, 2, 3)] == [1000, 2000, 4000]
    assert retry_delay_ms(DEFAULT_RETRY, 1, jitter=0.5) == 1500
    assert retry_delay_ms(DEFAULT_RETRY, 60, jitter=0.5) == 60_000


def test_metadata_operations() -> None:
    """Set, append, increment and delete do what the platform's own operations do."""
    metadata = Metadata({"n": 1, "one": "a", "gone": None})
    assert metadata.changed_json() is None
    metadata.set("k", {"deep": [1]})
    metadata.append("list", 1)
    metadata.append("one", "b")
    assert metadata.increment("n", 2) == 3
    assert metadata.increment("one") == 1
    metadata.delete("gone")
    metadata.delete("never was")
    assert json.loads(metadata.changed_json() or "") == {
        "n": 3, "one": 1, "k": {"deep": [1]}, "list": [1],
    }  # fmt: skip


def test_metadata_keeps_copies() -> None:
    """A value changed after it was set, or after it was read, is not the kept one."""
    metadata, value = Metadata(), [1]
    metadata.set("k", value)
    value.append(2)
    metadata.get("k").append(3)
    assert metadata.all() == {"k": [1]}
    assert metadata.get("none", 7) == 7


def test_metadata_refuses_what_is_no_json() -> None:
    """The key is named at the call, not when the attempt ends."""
    with pytest.raises(NotJson, match=r"metadata\.when is a datetime"):
        Metadata().set("when", dt.datetime.now(dt.UTC))


def test_metadata_larger_than_the_platform_takes() -> None:
    """256 KiB are the most."""
    metadata = Metadata()
    metadata.set("big", "x" * 262_144)
    with pytest.raises(NotJson, match="262144 bytes"):
        metadata.changed_json()
