"""How audit rows are hashed into a chain. Pure: same row, same text, same hash.

A value is hashed as it will be read back. PostgreSQL's `jsonb` keeps numbers as decimals, so a
whole number written as `5.0` or `1e22` comes back as an integer: `stored_value` makes it one first.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

GENESIS = ""  # the hash before the first row


class Unrecordable(ValueError):
    """A value is no JSON, so that it can neither be stored nor hashed."""


def stored_value(value: Any) -> Any:
    """Give a JSON value as the database gives it back, or raise `Unrecordable`."""
    try:
        return _whole_numbers(json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise Unrecordable(f"{value!r} cannot be recorded as JSON") from error


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return value


def canonical_text(value: Any) -> str:
    """Give the one text of a JSON value: sorted keys, no spaces, ASCII. `true` and `1` differ."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def row_hash(prev_hash: str, fields: Mapping[str, Any]) -> str:
    """Give the SHA-256, in hex, of a row's fields and of the hash of the row before it."""
    return hashlib.sha256(f"{prev_hash}\n{canonical_text(dict(fields))}".encode()).hexdigest()
