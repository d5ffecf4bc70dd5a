"""The text and the hash of an audit row."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.chain import GENESIS, Unrecordable, canonical_text, row_hash, stored_value


def test_the_order_of_keys_does_not_matter() -> None:
    """Two equal objects have one text."""
    assert (
        canonical_text({"b": 1, "a": [2]})
        == canonical_text({"a": [2], "b": 1})
        == '{"a":[2],"b":1}'
    )


def test_true_and_one_differ() -> None:
    """A JSON boolean is no number, though Python finds them equal."""
    assert canonical_text(True) != canonical_text(1)


@pytest.mark.parametrize(
    ("value", "stored"),
    [(5.0, 5), (-0.0, 0), (1e22, 10**22), ((1, 2.5), [1, 2.5]), ({1: 2.0}, {"1": 2}), (True, True)],
)
def test_a_value_is_stored_as_the_database_gives_it_back(value: Any, stored: Any) -> None:
    """Whole numbers become integers, tuples lists and keys text, before they are hashed."""
    assert canonical_text(stored_value(value)) == canonical_text(stored)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"bytes"])
def test_what_is_no_json_is_refused(value: Any) -> None:
    """A value that cannot be stored is an error of its own, before anything is written."""
    with pytest.raises(Unrecordable):
        stored_value(value)


def test_the_known_hash_never_changes() -> None:
    """A chain written by an older version has to verify for ever."""
    first = row_hash(GENESIS, {"key": "a", "new": 1, "old": None})
    assert first == "66ac30b65c18dcfe76461917a00357a9d94099767881e7c98ba461efbe1658e9"
    assert (
        row_hash(first, {"key": "é", "new": [True], "old": 1})
        == "1d0921ecb5b8ef80dc230608c4e5a9edfea1d190e0ab2e58781c41d876f92ae9"
    )
