"""Keep credentials out of logs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "[hidden]"
SECRET_NAMES = re.compile(
    r"(^|[_\-.])(password|passwd|secret|token|authorization|api_?key|cookie|ciphertext)s?$",
    re.IGNORECASE,
)
PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # keys and tokens of ours: tr_dev_..., tr_pat_..., tr_wgt_...
    (re.compile(r"\b(tr_[a-z]{2,8}_)[A-Za-z0-9]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=\-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # the password of an address: scheme://user:password@host
    (
        re.compile(r"(?i)(\b[a-z][a-z0-9+.\-]*://[^\s:/@]*:)[^\s@/]+(@)"),
        rf"\1{HIDDEN}\2",
    ),
    # a signed token: three base64 parts
    (re.compile(r"\beyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+"), HIDDEN),
)


def redact_text(text: str) -> str:
    """Give the text with everything that looks like a credential replaced."""
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(value: Any, name: str = "") -> Any:
    """Give the value with credentials replaced, at any depth; `name` is the key it stands under."""
    if name and SECRET_NAMES.search(name) and value not in (None, "", True, False):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: redact(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [redact(inner) for inner in value]
    return value
