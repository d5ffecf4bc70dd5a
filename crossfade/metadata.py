"""The metadata of a run: a JSON object the task may edit; it is sent when the attempt ends."""

from __future__ import annotations

import copy
import threading
from typing import Any

from crossfade.errors import NotJson
from crossfade.strict_json import check_json, to_json

LARGEST_BYTES = 262_144


class Metadata:
    """The run's metadata. Values are copied in and out, so what is kept is always JSON."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = copy.deepcopy(values or {})
        self._lock = threading.Lock()
        self._changed = False

    def get(self, key: str, default: Any = None) -> Any:
        """Give the value of a key, or the default."""
        with self._lock:
            return copy.deepcopy(self._values.get(key, default))

    def all(self) -> dict[str, Any]:
        """Give a copy of the whole object."""
        with self._lock:
            return copy.deepcopy(self._values)

    def set(self, key: str, value: Any) -> None:
        """Assign a key. **Raises** NotJson when the value is not JSON."""
        self._put(key, lambda _old: value, value)

    def append(self, key: str, value: Any) -> None:
        """Push onto the list at a key; a missing list is made, a single value becomes one."""
        self._put(key, lambda old: [*_as_list(old), value], value)

    def increment(self, key: str, by: float = 1) -> float:
        """Add to the number at a key and give the sum; what is no number counts as 0."""
        return float(self._put(key, lambda old: _as_number(old) + by, by))

    def delete(self, key: str) -> None:
        """Remove a key; a missing one is no error."""
        with self._lock:
            self._changed = self._changed or key in self._values
            self._values.pop(key, None)

    def changed_json(self) -> str | None:
        """Give the JSON text to send, or None when nothing was changed.

        **Raises** NotJson when it is larger than the platform takes, 256 KiB.
        """
        with self._lock:
            if not self._changed:
                return None
            text = to_json(self._values, name="metadata")
        if len(text.encode()) > LARGEST_BYTES:
            raise NotJson("metadata", f"is larger than {LARGEST_BYTES} bytes as JSON")
        return text

    def _put(self, key: str, change: Any, value: Any) -> Any:
        if not isinstance(key, str):
            raise NotJson("metadata", f"has the key {key!r:.80}; keys are text")
        check_json(value, name=f"metadata.{key}")
        with self._lock:
            self._values[key] = copy.deepcopy(change(self._values.get(key)))
            self._changed = True
            return self._values[key]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _as_number(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
