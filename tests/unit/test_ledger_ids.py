"""Ids: their shape, their order and what can be read from them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from ledger.ids import MAX_MS, body_of, decode_ms, encode_ms, id_time_ms, new_id

FORK = """
import os
from ledger.ids import new_id
new_id("run")  # reads chance for many ids ahead
read_end, write_end = os.pipe()
if os.fork() == 0:
    os.write(write_end, new_id("run", now_us=0).encode())
    os._exit(0)
print(new_id("run", now_us=0) != os.read(read_end, 100).decode())
"""


def test_new_id_is_prefix_and_25_characters() -> None:
    """An id is its prefix, an underscore and 25 characters of 0-9a-v."""
    assert re.fullmatch(r"run_[0-9a-v]{25}", new_id("run"))


def test_new_id_carries_its_time() -> None:
    """The millisecond an id was made at can be read from it."""
    assert id_time_ms(new_id("snapshot", now_us=1_795_361_654_123_999)) == 1_795_361_654_123


def test_known_encoding() -> None:
    """The encoding of a time never changes, because another language computes it too."""
    assert encode_ms(0) == "0000000000"
    assert encode_ms(31) == "000000000v"
    assert encode_ms(32) == "0000000010"
    assert encode_ms(1_795_361_654_123) == "01k81u9hbb"
    assert encode_ms(MAX_MS) == "v" * 10
    assert decode_ms("01k81u9hbb") == 1_795_361_654_123


def test_ids_of_one_microsecond_differ() -> None:
    """Many ids of one microsecond are all different, across the chance that is read ahead."""
    assert len({new_id("run", now_us=5) for _ in range(5000)}) == 5000


@pytest.mark.parametrize("ms", [-1, MAX_MS + 1])
def test_a_time_outside_the_range_is_refused(ms: int) -> None:
    """No time is silently cut, because the order would be lost."""
    with pytest.raises(ValueError, match="outside"):
        encode_ms(ms)


@pytest.mark.parametrize("text", ["", "01k81u9hb", "01k81u9hbw", "01K81U9HBB"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """A text that was not made by `encode_ms` has no time."""
    with pytest.raises(ValueError, match=r"01k|01K|''"):
        decode_ms(text)


def test_what_is_no_id_has_no_time() -> None:
    """An id of another length was not made here."""
    with pytest.raises(ValueError, match="is not an id"):
        id_time_ms("run_abc")


def test_body_of_strips_the_prefix_only() -> None:
    """The internal id is the body; a body is its own body."""
    identifier = new_id("org")
    assert f"org_{body_of(identifier)}" == identifier
    assert body_of(body_of(identifier)) == body_of(identifier)


def test_a_forked_child_makes_other_ids() -> None:
    """Chance that was read ahead is not used by two processes."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        capture_output=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert run.stdout.strip() == b"True"
