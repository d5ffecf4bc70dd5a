"""Text as PostgreSQL can hold it: task code writes what it likes. Pure."""

from __future__ import annotations

import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """Give the text with each NUL and each lone surrogate replaced.

    >>> storable("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return _UNSTORABLE.sub(REPLACEMENT, text)


def storable_values(value: dict[str, Any]) -> dict[str, Any]:
    """Give a flat object with every text storable."""
    return {key: storable(one) if isinstance(one, str) else one for key, one in value.items()}
