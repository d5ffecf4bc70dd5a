"""What holds for every value: JSON goes through unchanged, waits stay within their bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade import NotJson, Retry
from crossfade.cli.ignore import is_ignored, rules_for
from crossfade.retry import retry_delay_ms
from crossfade.strict_json import to_json
from tests.sizes import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=examples(60))
@given(JSON)
def test_json_goes_through_unchanged(value: Any) -> None:
    """Every JSON value survives the way out and back."""
    assert json.loads(to_json(value, name="output")) == value


@given(
    attempt=st.integers(1, 300),
    jitter=st.floats(0, 1, exclude_max=True),
    factor=st.floats(1, 100),
    low=st.integers(0, 100_000),
    more=st.integers(0, 100_000),
)
def test_the_wait_stays_within_its_bounds(
    attempt: int, jitter: float, factor: float, low: int, more: int
) -> None:
    """No attempt and no dice leave [min, max], and nothing overflows."""
    retry = Retry(factor=factor, min_timeout_ms=low, max_timeout_ms=low + more)
    assert low <= retry_delay_ms(retry, attempt, jitter=jitter) <= low + more


@settings(max_examples=examples(60))
@given(path=st.lists(st.sampled_from(["a", "b.log", "c d"]), min_size=1), wrong=st.floats())
def test_a_problem_is_found_at_its_path(path: list[str], wrong: float) -> None:
    """Wherever the part that is not JSON sits, the error's path leads to it."""
    value: Any = {wrong}
    for step in reversed(path):
        value = {step: [value]}
    with pytest.raises(NotJson) as raised:
        to_json(value, name="v")
    steps = "".join(f".{s}[0]" if s == "a" else f"[{json.dumps(s)}][0]" for s in path)
    assert raised.value.path == "v" + steps[:300]
    assert raised.value.problem == "is a set; use a list"


@given(st.sampled_from(["x.py", "a/x.py", "a/b/x.py"]))
def test_without_an_ignore_file_code_is_kept(path: str) -> None:
    """The built-in rules leave out no source file."""
    assert not is_ignored(rules_for(""), path, is_folder=False)
