"""Server-sent events: lines in, events out. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` is its JSON object, empty when there is none."""

    name: str
    data: dict[str, Any]


def events_in(lines: Iterable[str]) -> Iterator[Event]:
    """Give the events of a stream's lines. An event that the stream's end cuts off is dropped.

    >>> [event.name for event in events_in(["event: ping", "data: {}", ""])]
    ['ping']
    """
    name = ""
    data: list[str] = []
    for line in lines:
        if not line:
            if name or data:
                yield Event(name or "message", _object("\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _object(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {"message": text}
    return value if isinstance(value, dict) else {"message": text}
