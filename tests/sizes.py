"""How much the suite tries: small and the same each time, or all of it (`make test-long`).

Everything that repeats, races or draws at random takes its numbers from here. The full sizes draw
anew each time; what Hypothesis finds wrong is kept in `.hypothesis` and tried first the next time.
"""

from __future__ import annotations

import os

from hypothesis import settings

IS_LONG = os.environ.get("CROSSFADE_TEST_LONG") == "1"  # noqa: TID251 - the edge of the suite

USUAL = 100  # examples of a property that names no number
TIMES = 20  # as many in the full size

# A busy machine is slow at any moment: no example has a deadline of its own.
settings.register_profile("small", max_examples=USUAL, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=USUAL * TIMES, deadline=None)


def sized(small: int, *, full: int) -> int:
    """Give how often to do something in this run of the suite."""
    return full if IS_LONG else small


def examples(usual: int) -> int:
    """Give how many examples a property tries that usually tries so many."""
    return sized(usual, full=usual * TIMES)


def load_profile() -> None:
    """Let every property try as much as this run of the suite does; before tests are imported."""
    settings.load_profile("full" if IS_LONG else "small")
