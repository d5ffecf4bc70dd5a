"""Values that a schema of the OpenAPI document allows, and values that nobody expects.

The document is generated from our own models, so its schemas use few words; one that is not known
here fails the tests that draw from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

Schema = dict[str, Any]
Path = tuple[str | int, ...]

REF: Final = "#/components/schemas/"
DEEPEST: Final = 3  # of optional parts; what is required goes as deep as it must
UNQUOTED: Final = "number without quotes: "  # JSON numbers that Python does not write

NASTY_TEXTS: Final = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "line\nbreak\r\n",
    "\u202e\u200b\ufeff",
    "ẞ😀",
    "../../etc/passwd",
    "'; DROP TABLE runs_taskrun; --",
    "%s%(x)s{0}{x}%",
    "<script>",
    "null",
    "-1",
    "1e999",
    "NaN",
    "9" * 40,
    "x" * 5_000,
    "2026-02-30T25:61:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "P1Y",
    "99999999999d",
    "run_",
    "run_" + "z" * 25,
)
NASTY_NUMBERS: Final = (
    0, -1, 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, 10**30, 0.5, -0.0, 1e308,
)  # fmt: skip
NASTY_BYTES: Final = (
    b"",
    b" \n",
    b"{",
    b"}",
    b"null",
    b"[]",
    b"5",
    b'"text"',
    b'{"a":NaN}',
    b'{"payload":Infinity}',
    b'{"a":1,"a":2}',
    b'{"a":1}{"b":2}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"\xff":1}',
    b'{"payload":"\xed\xa0\x80"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"n":' + b"9" * 5_000 + b"}",
)

TEXTS = st.sampled_from(NASTY_TEXTS) | st.text(max_size=20)
NUMBERS = (
    st.sampled_from(NASTY_NUMBERS)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([UNQUOTED + text for text in ("1e999", "-1e999", "9" * 400)])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def encoded(value: Any) -> bytes:
    """Give a value as JSON, numbers beyond Python's too."""
    text = json.dumps(value)
    for part in text.split(f'"{UNQUOTED}')[1:]:
        number = part.partition('"')[0]
        text = text.replace(f'"{UNQUOTED}{number}"', number)
    return text.encode()


class Schemas:
    """Draws values for the schemas of one document."""

    def __init__(self, document: Schema) -> None:
        self._components: Schema = document["components"]["schemas"]
        self._named: dict[tuple[str, int], st.SearchStrategy[Any]] = {}

    def values(self, schema: Schema, depth: int = 0) -> st.SearchStrategy[Any]:
        """Give what draws values that a schema allows, but for patterns, which may be missed."""
        if "$ref" in schema:
            return self._component(schema["$ref"].removeprefix(REF), depth)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return st.one_of([self.values(one, depth) for one in schema[several]])
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if isinstance(schema.get("type"), list):
            return st.one_of(
                [self.values({**schema, "type": one}, depth) for one in schema["type"]]
            )
        return self._typed(schema, depth)

    def _component(self, name: str, depth: int) -> st.SearchStrategy[Any]:
        if (name, depth) not in self._named:
            deferred = st.deferred(lambda: self.values(self._components[name], depth))
            self._named[name, depth] = deferred
        return self._named[name, depth]

    def _typed(self, schema: Schema, depth: int) -> st.SearchStrategy[Any]:
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case str(name):
                return LEAVES_BY_TYPE[name](schema)
            case _:
                return VALUES

    def _array(self, schema: Schema, depth: int) -> st.SearchStrategy[list[Any]]:
        least = schema.get("minItems", 0)
        inner = self.values(schema.get("items", {}), depth + 1)
        return st.lists(inner, min_size=least, max_size=max(least, 2))

    def _object(self, schema: Schema, depth: int) -> st.SearchStrategy[dict[str, Any]]:
        required = schema.get("required", [])
        known = {
            name: self.values(part, depth + 1)
            for name, part in schema.get("properties", {}).items()
            if name in required or depth < DEEPEST
        }
        drawn = st.fixed_dictionaries(
            {name: one for name, one in known.items() if name in required},
            optional={name: one for name, one in known.items() if name not in required},
        )
        more = schema.get("additionalProperties", False)
        if more is False or depth >= DEEPEST:
            return drawn
        inner = VALUES if more is True else self.values(more, depth + 1)
        others = st.dictionaries(st.text("abc", min_size=1, max_size=5), inner, max_size=2)
        return st.builds(lambda others, drawn: {**others, **drawn}, others, drawn)


def _string(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda at: at.isoformat() + "Z")
    if "pattern" in schema:
        pattern: str = schema["pattern"]
        return st.from_regex(pattern, fullmatch=True)
    least = schema.get("minLength", 0)
    plain = st.text("abcXYZ019 _-", min_size=least, max_size=12)
    return plain | TEXTS.filter(lambda text: least <= len(text) <= schema.get("maxLength", 10_000))


def _number(schema: Schema) -> st.SearchStrategy[float]:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    return st.floats(least, schema.get("maximum", 1_000), exclude_min=True)


def _integer(schema: Schema) -> st.SearchStrategy[int]:
    least, most = schema.get("minimum", -(2**40)), schema.get("maximum", 2**40)
    return st.sampled_from([least, most]) | st.integers(least, most)


LEAVES_BY_TYPE: dict[str, Callable[[Schema], st.SearchStrategy[Any]]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _schema: st.booleans(),
    "null": lambda _schema: st.none(),
}


def places_of(value: Any, at: Path = ()) -> list[Path]:
    """Name every place within a value, keys and positions from the outside in."""
    if isinstance(value, dict):
        pairs: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return []
    return [place for key, inner in pairs for place in ((*at, key), *places_of(inner, (*at, key)))]


def with_value(value: Any, place: Path, new: Any) -> Any:
    """Give a copy of a value with another one at a place."""
    if not place:
        return new
    key, *rest = place
    if isinstance(value, dict):
        return {**value, key: with_value(value[str(key)], tuple(rest), new)}
    return [with_value(v, tuple(rest), new) if i == key else v for i, v in enumerate(value)]
