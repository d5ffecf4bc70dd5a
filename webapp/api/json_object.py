"""Bodies whose keys are not fields of a model: one JSON object, read as strictly as a model. Pure.

A key that is given twice is refused: whoever reads such a text takes the first or the last value,
and for a switch that matters.
"""

from __future__ import annotations

import json
from typing import Any

from tenants.errors import Invalid, Problem


def read_object(raw: bytes) -> dict[str, Any]:
    """Give the object of a body, or raise `Invalid` saying what it is instead.

    >>> read_object(b'{"a": true}')
    {'a': True}
    """
    if not raw.strip():
        raise Invalid("Request body is empty")
    try:
        value = json.loads(raw, parse_constant=_refuse, object_pairs_hook=_once)
        json.dumps(value, ensure_ascii=False).encode()  # half a character is no text
    except (ValueError, RecursionError) as error:  # too deep is no better than broken
        raise Invalid("Invalid JSON") from error
    if not isinstance(value, dict):
        raise Invalid("The request body is not a JSON object")
    return value


def check_no_keys(raw: bytes) -> None:
    """Raise `Invalid` unless a body says nothing: it is empty, or an object without keys."""
    if raw.strip() and (unknown := read_object(raw)):
        problems = tuple(Problem(key, "there is no such key") for key in unknown)
        raise Invalid(f"{problems[0].key}: {problems[0].message}", problems)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    problems = []
    for key, value in pairs:
        if key in found:
            problems.append(Problem(key, "is given twice"))
        found[key] = value
    if problems:
        raise Invalid(f"{problems[0].key}: {problems[0].message}", tuple(problems))
    return found
