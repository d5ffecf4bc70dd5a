"""Which part of a request holds what no database can. Pure.

A text with a NUL or half a character; a number beyond a float, such as 1e999.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from runs.storable import storable
from tenants.errors import Problem

_INFINITE = (math.inf, -math.inf)
_SENTENCE = "holds a character or a number that cannot be stored"


def unstorable_parts(path: str, query: Mapping[str, str], raw: bytes) -> tuple[Problem, ...]:
    """Name every part of a request that cannot be stored: its path, its query's and body's keys."""
    at_fault = chain(
        ["path"] if _is_unstorable(path) else [],
        (storable(key) for key, text in query.items() if _is_unstorable(key + text)),
        _places_of(raw),
    )
    return tuple(Problem(place, _SENTENCE) for place in at_fault)


def _places_of(raw: bytes) -> list[str]:
    try:
        return list(_places(json.loads(raw), ""))
    except (ValueError, RecursionError):  # lines, or an upload: nothing that has keys
        return []


def _places(value: Any, at: str) -> Iterator[str]:
    if value in _INFINITE or (isinstance(value, str) and _is_unstorable(value)):
        yield at or "body"
    for key, inner in _parts(value):
        place = f"{at}.{storable(key)}" if at else storable(key)
        if _is_unstorable(key):
            yield place
        else:
            yield from _places(inner, place)


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return value.items()
    return ((str(n), one) for n, one in enumerate(value)) if isinstance(value, list) else ()


def _is_unstorable(text: str) -> bool:
    return storable(text) != text
