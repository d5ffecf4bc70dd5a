"""Flags as a form holds them: what a control says, what was changed, what is wrong. Pure.

A form carries, beside each control, the value that it showed. What a person left alone is therefore
known, and never written, whatever others did meanwhile.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flags.catalog import FlagType, expected, is_allowed
from tenants.errors import Invalid, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flags.catalog import FlagSpec

TYPED: Final = "flag-"  # what a control holds
SHOWN: Final = "was-"  # the value it showed, as JSON
UNSET: Final = "unset-"  # ticked: not set any more
NOT_SET: Final = "not set"
MAX_PERCENT_CHARS: Final = 3


class Control(StrEnum):
    """How a value is chosen."""

    SWITCH = "switch"  # not set, off, on
    NUMBER = "number"  # whole per cent
    TEXT = "text"


class Sent(NamedTuple):
    """One flag of a form that came back."""

    was: Any  # the value that was shown; None: not set
    typed: str
    is_unset: bool


class Change(NamedTuple):
    """What somebody wants to change."""

    key: str
    old: Any
    new: Any


class Reading(NamedTuple):
    """What a form says."""

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]


SWITCH_VALUES: Final[Mapping[str, bool | None]] = {"": None, "false": False, "true": True}
_CONTROLS: Final[Mapping[FlagType, Control]] = {
    FlagType.BOOL: Control.SWITCH,
    FlagType.PERCENT: Control.NUMBER,
    FlagType.STRING: Control.TEXT,
}


def control_for(spec: FlagSpec) -> Control:
    """Give the control of a flag, by its type."""
    return _CONTROLS[spec.type]


def value_text(spec: FlagSpec, value: Any) -> str:
    """Give a value as people read it; None is not set."""
    if value is None:
        return NOT_SET
    if control_for(spec) is Control.SWITCH:
        return "on" if value is True else "off"
    return f"{value} %" if control_for(spec) is Control.NUMBER else str(value)


def typed_text(spec: FlagSpec, value: Any) -> str:
    """Give what the control of a flag holds when its value is this; "" when it is not set."""
    if value is None:
        return ""
    return json.dumps(value) if control_for(spec) is Control.SWITCH else str(value)


def read_sent(data: Mapping[str, str], specs: Iterable[FlagSpec]) -> dict[str, Sent]:
    """Give the flags of a form that came back; one that was not in it is left out.

    Raise `Invalid` for flags that may not be set here, and for a form that no page of ours made.
    """
    allowed = {spec.key for spec in specs}
    asked = {key.removeprefix(TYPED) for key in data if key.startswith(TYPED)}
    if refused := sorted(asked - allowed):
        problems = tuple(Problem(key, "cannot be set here") for key in refused)
        raise Invalid(f"{refused[0]}: cannot be set here", problems)
    return {
        key: Sent(_shown(data, key), data[TYPED + key].strip(), data.get(UNSET + key) == "on")
        for key in sorted(asked)
    }


def read_changes(specs: Mapping[str, FlagSpec], sent: Mapping[str, Sent]) -> Reading:
    """Give what differs from what was shown, and every value that is not allowed."""
    changes, problems = [], []
    for key, one in sent.items():
        spec = specs[key]
        if not one.is_unset and one.typed == typed_text(spec, one.was):
            continue
        new = None if one.is_unset or not one.typed else _value(spec, one.typed)
        if new is not None and not is_allowed(spec, new):
            problems.append(Problem(key, f"must be {expected(spec)}"))
        elif (type(new), new) != (type(one.was), one.was):
            changes.append(Change(key, one.was, new))
    return Reading(tuple(changes), tuple(problems))


def _value(spec: FlagSpec, typed: str) -> Any:
    """Give the value of a control's text; what is none stays a text, which is not allowed then."""
    control = control_for(spec)
    if control is Control.SWITCH:
        return SWITCH_VALUES.get(typed, typed)
    is_whole = typed.isascii() and typed.isdecimal() and len(typed) <= MAX_PERCENT_CHARS
    return int(typed) if control is Control.NUMBER and is_whole else typed


def _shown(data: Mapping[str, str], key: str) -> Any:
    try:
        return json.loads(data.get(SHOWN + key, ""))
    except ValueError as error:
        raise Invalid(f"{key}: the form does not say what it showed") from error
