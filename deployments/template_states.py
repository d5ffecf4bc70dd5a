"""The life of a compute template as a table, and when a failed request for it is repeated. Pure.

The database lists the same states in a constraint.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tenants.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ATTEMPTS: Final = 6
LONGEST_PAUSE_S: Final = 60.0


class TemplateState(StrEnum):
    """Where a template is."""

    PENDING = "PENDING"  # wanted; nobody works on it
    BUILDING = "BUILDING"  # the gateway was asked, under a claim that ends by itself
    READY = "READY"  # instances of its machine can start from it; only staff ask for it again
    FAILED = "FAILED"  # it was given up; only a new request for it goes on


class TemplateEvent(StrEnum):
    """What may happen to a template."""

    CLAIM = "claim"  # somebody begins to ask the gateway
    BUILT = "built"  # the gateway has it
    RETRY = "retry"  # the attempt failed, or its claim ended, and another may help
    GIVE_UP = "give_up"  # no other attempt can help, or there were too many
    REQUEST = "request"  # somebody wants it again


class IllegalTemplateMove(Conflict):
    """The event is not possible in this state."""

    def __init__(self, state: TemplateState, event: TemplateEvent) -> None:
        self.state = state
        self.event = event
        super().__init__(f"A template that is {state} cannot {event.replace('_', ' ')}")


_S = TemplateState
_E = TemplateEvent

TRANSITIONS: Final[Mapping[tuple[TemplateState, TemplateEvent], TemplateState]] = MappingProxyType(
    {
        (_S.PENDING, _E.CLAIM): _S.BUILDING,
        (_S.BUILDING, _E.BUILT): _S.READY,
        (_S.BUILDING, _E.RETRY): _S.PENDING,
        (_S.BUILDING, _E.GIVE_UP): _S.FAILED,
        (_S.FAILED, _E.REQUEST): _S.PENDING,
        (_S.READY, _E.REQUEST): _S.PENDING,
    }
)
"""Every legal move; a pair that is not here is refused."""


def next_template_state(state: TemplateState, event: TemplateEvent) -> TemplateState:
    """Give the state after `event`, or raise `IllegalTemplateMove`.

    >>> next_template_state(TemplateState.PENDING, TemplateEvent.CLAIM)
    <TemplateState.BUILDING: 'BUILDING'>
    """
    moved = TRANSITIONS.get((state, event))
    if moved is None:
        raise IllegalTemplateMove(state, event)
    return moved


def decide_after_failure(*, is_retryable: bool, attempts: int) -> TemplateEvent:
    """Give what a failed attempt leads to; `attempts` were made, this one included."""
    return _E.RETRY if is_retryable and attempts < MAX_ATTEMPTS else _E.GIVE_UP


def pause_s(attempts: int) -> float:
    """Give how long a template waits after so many failed attempts, from 1.

    >>> [pause_s(n) for n in (1, 2, 3, 9)]
    [1.0, 2.0, 4.0, 60.0]
    """
    return min(LONGEST_PAUSE_S, 2.0 ** min(attempts - 1, 30))
