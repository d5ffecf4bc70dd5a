"""What a form of flags says: values as text, changes, and what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flags.catalog import FlagSpec, FlagType, Scope
from tenants.errors import Invalid
from webapp.admin.flag_values import (
    SHOWN,
    TYPED,
    UNSET,
    Change,
    Control,
    control_for,
    read_changes,
    read_sent,
    typed_text,
    value_text,
)


def spec(kind: FlagType) -> FlagSpec:
    """Give a flag of this type."""
    return FlagSpec(kind.value, kind, None, Scope.ORGANIZATION, "tests", "A flag of tests")


SPECS = {kind.value: spec(kind) for kind in FlagType}
VALUES: tuple[tuple[FlagType, Any, str, str], ...] = (
    (FlagType.BOOL, None, "not set", ""),
    (FlagType.BOOL, True, "on", "true"),
    (FlagType.BOOL, False, "off", "false"),
    (FlagType.PERCENT, None, "not set", ""),
    (FlagType.PERCENT, 0, "0 %", "0"),
    (FlagType.PERCENT, 100, "100 %", "100"),
    (FlagType.STRING, None, "not set", ""),
    (FlagType.STRING, "a text", "a text", "a text"),
)


def sent(kind: FlagType, was: Any, typed: str, *, is_unset: bool = False) -> dict[str, str]:
    """Give the fields of one flag as a form sends them."""
    fields = {TYPED + kind.value: typed, SHOWN + kind.value: json.dumps(was)}
    return {**fields, UNSET + kind.value: "on"} if is_unset else fields


def changes(fields: dict[str, str]) -> tuple[Change, ...]:
    """Give the changes of a form in which nothing is wrong."""
    reading = read_changes(SPECS, read_sent(fields, SPECS.values()))
    assert reading.problems == ()
    return reading.changes


def problems(fields: dict[str, str]) -> list[str]:
    """Give the flags that are wrong in a form."""
    return [one.key for one in read_changes(SPECS, read_sent(fields, SPECS.values())).problems]


def test_every_type_has_a_control() -> None:
    """A new type of flag cannot be forgotten here."""
    assert {control_for(one) for one in SPECS.values()} == set(Control)


@pytest.mark.parametrize(("kind", "value", "said", "typed"), VALUES)
def test_a_value_is_said_and_typed(kind: FlagType, value: Any, said: str, typed: str) -> None:
    """People read words, controls hold texts, and what nobody touched is no change."""
    assert value_text(SPECS[kind.value], value) == said
    assert typed_text(SPECS[kind.value], value) == typed
    assert changes(sent(kind, value, typed)) == ()


@pytest.mark.parametrize(("kind", "value", "said", "typed"), VALUES)
def test_what_is_typed_becomes_the_value(kind: FlagType, value: Any, said: str, typed: str) -> None:
    """From any other value, the text of a value changes the flag to exactly that value."""
    other = {FlagType.BOOL: True, FlagType.PERCENT: 50, FlagType.STRING: "x"}[kind]
    old = None if value == other else other
    (change,) = changes(sent(kind, old, typed))
    assert (change.old, change.new, type(change.new)) == (old, value, type(value))


def test_the_box_unsets_whatever_is_typed() -> None:
    """A ticked box means not set, also beside a value; for what is not set it changes nothing."""
    assert changes(sent(FlagType.PERCENT, 5, "7", is_unset=True)) == (Change("percent", 5, None),)
    assert changes(sent(FlagType.PERCENT, 5, "5", is_unset=True)) == (Change("percent", 5, None),)
    assert changes(sent(FlagType.PERCENT, None, "", is_unset=True)) == ()


def test_false_is_not_the_absence_of_a_value() -> None:
    """From off to not set and back are changes, in which nothing counts as the other."""
    assert changes(sent(FlagType.BOOL, False, "")) == (Change("bool", False, None),)
    assert changes(sent(FlagType.BOOL, None, "false")) == (Change("bool", None, False),)
    assert changes(sent(FlagType.PERCENT, 0, "")) == (Change("percent", 0, None),)


@pytest.mark.parametrize("typed", ["101", "-1", "1.0", "1e1", "true", "٣", "²", "1 0", "9" * 5000])
def test_a_number_is_whole_and_of_a_hundred(typed: str) -> None:
    """Nothing is coerced to a percentage."""
    assert problems(sent(FlagType.PERCENT, None, typed)) == ["percent"]


@pytest.mark.parametrize("typed", ["True", "on", "1", "null", "0"])
def test_a_switch_knows_three_texts(typed: str) -> None:
    """Nothing is coerced to a boolean."""
    assert problems(sent(FlagType.BOOL, None, typed)) == ["bool"]


def test_what_is_locked_or_unknown_is_refused_by_name() -> None:
    """A form may hold the flags of its page only."""
    with pytest.raises(Invalid, match="nothing: cannot be set here") as caught:
        read_sent({TYPED + "nothing": "1", SHOWN + "nothing": "null"}, SPECS.values())
    assert [one.key for one in caught.value.problems] == ["nothing"]


@pytest.mark.parametrize("shown", ["{", "", "nul"])
def test_a_form_says_what_it_showed(shown: str) -> None:
    """Without what was shown nobody can tell what was changed."""
    with pytest.raises(Invalid):
        read_sent({TYPED + "bool": "true", SHOWN + "bool": shown}, SPECS.values())
