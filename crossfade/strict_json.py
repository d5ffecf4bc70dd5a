"""JSON text from Python values, or a clear word on what is not JSON and where.

The standard encoder turns `{1: ...}` into `{"1": ...}` and NaN into a word no other parser reads.
Here a value is either exactly JSON or refused with the path to the part that is not.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from crossfade.errors import NotJson

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_PATH = 300
_DEEPEST = 200  # deeper values are loops or mistakes, and no reader on the other side takes them

_Problem = tuple[str, list[str]]  # what is wrong, and the steps to it, innermost first

_HINTS = {
    "datetime": "JSON has no dates: use .isoformat()",
    "date": "JSON has no dates: use .isoformat()",
    "time": "JSON has no times: use .isoformat()",
    "timedelta": "use .total_seconds()",
    "Decimal": "use str() or float()",
    "UUID": "use str()",
    "PosixPath": "use str()",
    "set": "use a list",
    "frozenset": "use a list",
    "bytes": "use base64 or .decode()",
    "bytearray": "use base64 or .decode()",
    "coroutine": "an await is missing",
}


def to_json(value: Any, *, name: str) -> str:
    """Give the JSON text of a value.

    **Args** `name` is how the value is called in errors: `output`, `payload`.
    **Raises** NotJson with the path, as in `output.items[3].when is a datetime`.

    >>> to_json({"a": [1, None, "x"]}, name="output")
    '{"a":[1,null,"x"]}'
    """
    check_json(value, name=name)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def check_json(value: Any, *, name: str) -> None:
    """Raise NotJson for the first part of `value`, in reading order, that is not JSON."""
    found = _find_problem(value, 0)
    if found is not None:
        problem, steps = found
        raise NotJson(name + "".join(reversed(steps))[:_LONGEST_PATH], problem)


def _find_problem(value: Any, depth: int) -> _Problem | None:
    # The path is put together only on the way back from a problem: most values have none, and a
    # million paths for a list of a million numbers would cost more than the list.
    if depth > _DEEPEST:
        return (f"is nested deeper than {_DEEPEST} levels, or contains itself", [])
    if isinstance(value, dict):
        return _problem_in_dict(value, depth)
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            found = _find_problem(item, depth + 1)
            if found is not None:
                found[1].append(f"[{i}]")
                return found
        return None
    problem = _problem_of_leaf(value)
    return (problem, []) if problem else None


def _problem_in_dict(value: dict[Any, Any], depth: int) -> _Problem | None:
    for key, item in value.items():
        if not isinstance(key, str):
            return (f"has the key {key!r:.80}, {_with_article(key)}; keys are text", [])
        if _SURROGATE.search(key):
            return ("has a key with a lone surrogate, which is no character", [])
        found = _find_problem(item, depth + 1)
        if found is not None:
            found[1].append(f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key)}]")
            return found
    return None


def _problem_of_leaf(value: Any) -> str | None:
    if isinstance(value, str):
        lone = _SURROGATE.search(value)
        return "is text with a lone surrogate, which is no character" if lone else None
    if value is None or isinstance(value, bool | int):
        return None
    if isinstance(value, float):
        if math.isfinite(value):
            return None
        return f"is {value}, which JSON has no number for"
    hint = _HINTS.get(type(value).__name__)
    return f"is {_with_article(value)}" + (f"; {hint}" if hint else "")


def _with_article(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeio' else 'a'} {kind}"
