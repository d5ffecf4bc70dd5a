"""What is said about a body of a wrong shape: sentences that a person can act on."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tenants.errors import Invalid
from webapp.api.deployment_bodies import Digest
from webapp.api.errors import problems_of
from webapp.api.json_object import read_object
from webapp.api.shapes import Body, Label, Name, Text, Title
from webapp.api.unstorable import unstorable_parts
from webapp.middleware import body_limit


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (Label, "", "is not empty"),
        (Label, " eu", "begins without a space"),
        (Label, "eu,us", "no comma or colon"),
        (Label, "eu:us", "no comma or colon"),
        (Label, "eu\n", "no comma or colon"),
        (Name, "-x", "beginning with a letter or a digit"),
        (Name, "a b", "letters, digits"),
        (Name, "a\n", "letters, digits"),
        (Title, "a\x00b", "one line"),
        (Text, "a\nb", "one line"),
        (Digest, "sha256:x", "64 hex digits"),
        (Name, "x" * 101, "at most 100 characters"),
    ],
)
def test_a_text_of_a_wrong_form_gets_its_fields_own_sentence(
    kind: Any, text: str, words: str
) -> None:
    """It says what the field takes; no pattern is shown to people."""
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(text)
    (problem,) = problems_of([dict(error) for error in refused.value.errors()], skip=0)
    assert words in problem.message
    assert not any(sign in problem.message for sign in ("pattern", "^", "[", "\\"))


def test_the_schema_still_shows_the_pattern() -> None:
    """What generates clients needs it."""
    schema = TypeAdapter(Name).json_schema()
    assert schema == {
        "type": "string",
        "maxLength": 100,
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
    }


def test_unknown_and_missing_keys_are_said_in_plain_words() -> None:
    """Each is named with a sentence of its own."""

    class Example(Body):
        here: int

    with pytest.raises(ValidationError) as refused:
        Example.model_validate({"there": 1})
    problems = problems_of([dict(error) for error in refused.value.errors()], skip=0)
    assert [tuple(problem) for problem in problems] == [
        ("here", "is required"),
        ("there", "there is no such key"),
    ]


@pytest.mark.parametrize(
    ("raw", "value"), [(b"{}", {}), (b' {"a": {"b": [1]}} ', {"a": {"b": [1]}})]
)
def test_an_object_is_read_as_it_is(raw: bytes, value: object) -> None:
    """Nothing is added, dropped or coerced."""
    assert read_object(raw) == value


@pytest.mark.parametrize("raw", [rb'{"a": "\ud800"}', rb'{"\udfff": 1}', rb'{"a": ["\ud800x"]}'])
def test_half_a_character_is_refused(raw: bytes) -> None:
    """It can be neither stored nor sent back, wherever it stands."""
    with pytest.raises(Invalid, match="Invalid JSON"):
        read_object(raw)


@pytest.mark.parametrize(
    "path",
    ["/admin/api/v1/feature-flags", "/admin/api/v1/orgs/org_1/feature-flags"],
)
def test_a_body_of_flags_is_small(path: str) -> None:
    """All flags there are fit many times over."""
    assert body_limit(path) == 65_536


def test_keys_given_twice_are_named_also_inside() -> None:
    """Every one of them, wherever it stands."""
    with pytest.raises(Invalid) as refused:
        read_object(b'{"x": {"a": 1, "b": 2, "a": 3, "b": 4}}')
    assert [problem.key for problem in refused.value.problems] == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "query", "raw", "named"),
    [
        ("/a", {"b": "c"}, b'{"d": ["e"], "f": 1}', []),
        ("/a\x00", {"b": "\x00", "c\ud800": ""}, b"", ["path", "b", "c\ufffd"]),
        ("/", {}, rb'{"tags": ["a", "b\u0000"], "c": {"d": "\udc00"}}', ["tags.1", "c.d"]),
        ("/", {}, rb'{"a\u0000b": "\u0000"}', ["a\ufffdb"]),
        ("/", {}, rb'"\u0000"', ["body"]),
        ("/", {}, b'{"a": [1, -1e999], "b": "1e999"}', ["a.1"]),
        ("/", {}, b"\x00 no JSON", []),
        ("/", {}, b"[" * 5000 + b"]" * 5000, []),
    ],
)
def test_what_no_database_can_store_is_named(
    path: str, query: dict[str, str], raw: bytes, named: list[str]
) -> None:
    """NUL, half characters and endless numbers, wherever; own names are shown without them."""
    assert [problem.key for problem in unstorable_parts(path, query, raw)] == named
