"""Text as PostgreSQL can hold it, JSON as every client can read it: task code writes what it likes.

Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MAY_BE_INFINITE = re.compile(r"[eE]\+?\d{3}|\d{200}")  # no shorter number is
REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """Give the text with each NUL and each lone surrogate replaced.

    >>> storable("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return _UNSTORABLE.sub(REPLACEMENT, text)


def storable_value(value: Any) -> Any:
    """Give a value, made storable if it is a text."""
    return storable(value) if isinstance(value, str) else value


def storable_values(value: dict[str, Any]) -> dict[str, Any]:
    """Give a flat object with every text storable."""
    return {key: storable_value(one) for key, one in value.items()}


def json_value(text: str) -> Any:
    """Give the value of a JSON text, or raise ValueError.

    NaN and Infinity are no JSON. A number beyond a float, such as 1e999, is, but would be written
    again as Infinity.
    """
    value = from_json(text, allow_inf_nan=False)
    if _MAY_BE_INFINITE.search(text):
        json.dumps(value, allow_nan=False)
    return value
