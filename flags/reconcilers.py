"""What keeps the audit of ramps complete: a step takes effect by itself, its row does not.

A reconciler takes no input: it reads the world and repairs it. Running one twice, or two at once,
changes nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flags.ramping import record_steps

if TYPE_CHECKING:
    from collections.abc import Callable


def record_ramp_steps() -> int:
    """Leave an audit row for each step that has begun, and end ramps that ran out; give how many.

    Once a second is enough: the value itself waits for nobody.
    """
    return record_steps()


RECONCILERS: Final[dict[str, Callable[[], int]]] = {record_ramp_steps.__name__: record_ramp_steps}
