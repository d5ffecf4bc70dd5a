"""Where a run has to be, by its state, and what brings it back there. Pure.

Source: `docs/run-states.md`: a run waits in exactly one place.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from runs.states import LEASED, ExecutionStatus


class Place(StrEnum):
    """A table of the queue that a run can be in."""

    READY = "ready"  # in its lane
    DELAYED = "delayed"  # until a time
    VERSION = "version"  # until a version has its task
    LEASE = "lease"  # in a supervisor's hands


class Repair(NamedTuple):
    """What is done with a run that is in a wrong place, in too many or in none."""

    leave: frozenset[Place]
    enter: Place | None


# The places one of which a run of this status is in; found in none, it goes to the first.
ALLOWED: dict[ExecutionStatus, tuple[Place, ...]] = {
    ExecutionStatus.RUN_CREATED: (Place.VERSION,),
    ExecutionStatus.DELAYED: (Place.DELAYED,),
    ExecutionStatus.QUEUED: (Place.READY, Place.DELAYED),
    ExecutionStatus.SUSPENDED: (Place.DELAYED,),  # until somebody looks whether it may go on
    ExecutionStatus.FINISHED: (),
    **dict.fromkeys(LEASED, (Place.LEASE,)),
}


def decide_repair(status: ExecutionStatus, found: frozenset[Place]) -> Repair | None:
    """Give what is done with a run that is in these places; None when that is right.

    Rule: it stays in the first allowed place it is in, and leaves every other one.

    >>> decide_repair(ExecutionStatus.QUEUED, frozenset()).enter
    <Place.READY: 'ready'>
    """
    allowed = ALLOWED[status]
    kept = next((place for place in allowed if place in found), None)
    leave = found - {kept}
    enter = allowed[0] if allowed and kept is None else None
    return Repair(leave, enter) if leave or enter else None


def written(status: ExecutionStatus, place: Place | None) -> str:
    """Write a status and the one place of it as the query that compares them does.

    >>> written(ExecutionStatus.FINISHED, None), written(ExecutionStatus.QUEUED, Place.READY)
    ('FINISHED:', 'QUEUED:ready')
    """
    return f"{status}:{place or ''}"


RIGHT: tuple[str, ...] = tuple(
    written(status, place) for status, places in ALLOWED.items() for place in places or (None,)
)
"""Every status with each place that is right for it."""
