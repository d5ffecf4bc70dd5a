"""The life of a deployment as a table: which event moves which state, and nothing else.

Pure. The database lists the same states in a constraint.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tenants.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping


class DeploymentState(StrEnum):
    """Where a deployment is."""

    PENDING = "PENDING"  # announced; nobody works on it yet
    INSTALLING = "INSTALLING"  # its dependencies are being installed by a builder
    BUILDING = "BUILDING"  # its code is being indexed, built and uploaded
    DEPLOYING = "DEPLOYING"  # its tasks are registered; it waits to be finalized
    DEPLOYED = "DEPLOYED"  # runs may use it
    FAILED = "FAILED"  # its builder reported an error
    CANCELED = "CANCELED"  # a person or a newer deployment ended it
    TIMED_OUT = "TIMED_OUT"  # nobody finished it within the deploy timeout


class DeploymentEvent(StrEnum):
    """What may happen to a deployment."""

    INSTALL = "install"  # a builder begins to install dependencies
    BUILD = "build"  # a builder begins to build
    REGISTER = "register"  # the tasks and queues of the version are registered
    FINALIZE = "finalize"  # the version is complete
    FAIL = "fail"  # the builder gives up
    CANCEL = "cancel"  # somebody calls it off
    TIME_OUT = "time_out"  # the deploy timeout passed


class IllegalMove(Conflict):
    """The event is not possible in this state."""

    def __init__(self, state: DeploymentState, event: DeploymentEvent) -> None:
        self.state = state
        self.event = event
        super().__init__(f"A deployment that is {state} cannot {event.replace('_', ' ')}")


FINAL: Final = frozenset(
    {
        DeploymentState.DEPLOYED,
        DeploymentState.FAILED,
        DeploymentState.CANCELED,
        DeploymentState.TIMED_OUT,
    }
)
"""States nothing leaves."""

_S = DeploymentState
_E = DeploymentEvent
_ENDS = {_E.FAIL: _S.FAILED, _E.CANCEL: _S.CANCELED, _E.TIME_OUT: _S.TIMED_OUT}

TRANSITIONS: Final[Mapping[tuple[DeploymentState, DeploymentEvent], DeploymentState]] = (
    MappingProxyType(
        {
            (_S.PENDING, _E.INSTALL): _S.INSTALLING,
            (_S.PENDING, _E.BUILD): _S.BUILDING,
            (_S.INSTALLING, _E.BUILD): _S.BUILDING,
            (_S.BUILDING, _E.REGISTER): _S.DEPLOYING,
            (_S.DEPLOYING, _E.FINALIZE): _S.DEPLOYED,
            **{
                (state, event): end
                for state in (_S.PENDING, _S.INSTALLING, _S.BUILDING, _S.DEPLOYING)
                for event, end in _ENDS.items()
            },
        }
    )
)
"""Every legal move; a pair that is not here is refused."""


def next_state(state: DeploymentState, event: DeploymentEvent) -> DeploymentState:
    """Give the state after `event`, or raise `IllegalMove`.

    >>> next_state(DeploymentState.BUILDING, DeploymentEvent.REGISTER)
    <DeploymentState.DEPLOYING: 'DEPLOYING'>
    """
    moved = TRANSITIONS.get((state, event))
    if moved is None:
        raise IllegalMove(state, event)
    return moved
