"""The states of a run and the moves between them, as one table.

A run has two states. The *execution status* is the engine's: each move of it appends a
RunSnapshot. The *run status* is what customers filter by; it follows from the move, or, where a
move ends the run, from the outcome. `next_state` is the only place that decides whether a move is
legal; the database's constraints are generated from the same enums.

Source: `docs/run-states.md`, generated from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tenants.errors import Conflict


class ExecutionStatus(StrEnum):
    """Where a run stands for the engine."""

    RUN_CREATED = "RUN_CREATED"  # waits for a version that has its task
    DELAYED = "DELAYED"  # waits for its time
    QUEUED = "QUEUED"  # waits in its lane, or for a retry's time
    QUEUED_EXECUTING = "QUEUED_EXECUTING"  # a waiting workload wants its slot back
    PENDING_EXECUTING = "PENDING_EXECUTING"  # leased; no attempt has started
    EXECUTING = "EXECUTING"  # an attempt runs
    EXECUTING_WITH_WAITPOINTS = "EXECUTING_WITH_WAITPOINTS"  # an attempt waits, its workload is up
    SUSPENDED = "SUSPENDED"  # an attempt waits as a checkpoint
    PENDING_CANCEL = "PENDING_CANCEL"  # canceled; the workload has not confirmed
    FINISHED = "FINISHED"  # over


class RunStatus(StrEnum):
    """Where a run stands for its owner."""

    DELAYED = "DELAYED"  # waits for its time
    PENDING = "PENDING"  # waits in its queue
    PENDING_VERSION = "PENDING_VERSION"  # waits for a version that has its task
    DEQUEUED = "DEQUEUED"  # handed to a worker
    EXECUTING = "EXECUTING"  # an attempt runs
    WAITING_TO_RESUME = "WAITING_TO_RESUME"  # an attempt waits
    RETRYING_AFTER_FAILURE = "RETRYING_AFTER_FAILURE"  # the next attempt starts in place
    CANCELED = "CANCELED"  # somebody ended it
    COMPLETED_SUCCESSFULLY = "COMPLETED_SUCCESSFULLY"  # the task returned
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"  # the task raised and has no attempt left
    SYSTEM_FAILURE = "SYSTEM_FAILURE"  # the platform could not run it
    CRASHED = "CRASHED"  # the task's process died
    EXPIRED = "EXPIRED"  # its ttl passed while it waited
    TIMED_OUT = "TIMED_OUT"  # it ran longer than its max duration


FINAL: frozenset[RunStatus] = frozenset(
    {
        RunStatus.CANCELED,
        RunStatus.COMPLETED_SUCCESSFULLY,
        RunStatus.COMPLETED_WITH_ERRORS,
        RunStatus.SYSTEM_FAILURE,
        RunStatus.CRASHED,
        RunStatus.EXPIRED,
        RunStatus.TIMED_OUT,
    }
)

# A failed run frees its idempotency key; a completed or canceled one keeps it.
KEY_FREEING: frozenset[RunStatus] = FINAL - {
    RunStatus.COMPLETED_SUCCESSFULLY,
    RunStatus.CANCELED,
}


class Event(StrEnum):
    """What happens to a run."""

    DUE = "due"  # its delay is over
    RESCHEDULE = "reschedule"  # somebody changes its delay
    RELEASE = "release"  # a version that has its task arrived
    PARK = "park"  # it was taken, but no version has its task
    DEQUEUE = "dequeue"  # a supervisor took it
    RESUME_IN_PLACE = "resume_in_place"  # its waiting workload got its slot back
    START = "start"  # a runner starts an attempt
    CONTINUE = "continue"  # a restored workload goes on
    BLOCK = "block"  # the attempt waits for something
    UNBLOCK = "unblock"  # everything it waited for is there
    CHECKPOINT = "checkpoint"  # its workload was saved
    SUCCEED = "succeed"  # the attempt returned
    RETRY_IN_PLACE = "retry_in_place"  # the attempt failed, the next starts in the same workload
    RETRY_QUEUED = "retry_queued"  # the attempt failed, the next starts from the queue
    FAIL = "fail"  # the attempt failed, no attempt is left; the error names the run status
    REQUEUE = "requeue"  # the lease was lost, or no workload could be started
    CANCEL = "cancel"  # somebody ends it
    CONFIRM_CANCEL = "confirm_cancel"  # the workload stopped, or was given up
    EXPIRE = "expire"  # its ttl passed


@dataclass(frozen=True, slots=True)
class State:
    """Both states of a run after a move; `run` is None where the outcome names it."""

    execution: ExecutionStatus
    run: RunStatus | None


class IllegalMove(Conflict):
    """The run cannot make this move from where it stands."""

    def __init__(self, state: ExecutionStatus, event: Event) -> None:
        super().__init__(f"a run that is {state} cannot {event}")
        self.state = state
        self.event = event


_X = ExecutionStatus
_R = RunStatus
_EXECUTING = (_X.EXECUTING, _X.EXECUTING_WITH_WAITPOINTS)
_QUEUED = State(_X.QUEUED, _R.PENDING)
_CANCELED = State(_X.FINISHED, _R.CANCELED)
_CANCELING = State(_X.PENDING_CANCEL, _R.CANCELED)
_SUSPENDED = State(_X.SUSPENDED, _R.WAITING_TO_RESUME)
_ENDED = State(_X.FINISHED, None)

TRANSITIONS: dict[tuple[ExecutionStatus, Event], State] = {
    (_X.DELAYED, Event.DUE): _QUEUED,
    (_X.DELAYED, Event.RESCHEDULE): State(_X.DELAYED, _R.DELAYED),
    (_X.RUN_CREATED, Event.RELEASE): _QUEUED,
    (_X.QUEUED, Event.PARK): State(_X.RUN_CREATED, _R.PENDING_VERSION),
    (_X.QUEUED, Event.DEQUEUE): State(_X.PENDING_EXECUTING, _R.DEQUEUED),
    (_X.QUEUED_EXECUTING, Event.RESUME_IN_PLACE): State(_X.EXECUTING, _R.EXECUTING),
    (_X.PENDING_EXECUTING, Event.START): State(_X.EXECUTING, _R.EXECUTING),
    (_X.EXECUTING, Event.START): State(_X.EXECUTING, _R.EXECUTING),
    (_X.PENDING_EXECUTING, Event.CONTINUE): State(_X.EXECUTING, _R.EXECUTING),
    (_X.EXECUTING, Event.BLOCK): State(_X.EXECUTING_WITH_WAITPOINTS, _R.EXECUTING),
    (_X.EXECUTING_WITH_WAITPOINTS, Event.BLOCK): State(_X.EXECUTING_WITH_WAITPOINTS, _R.EXECUTING),
    (_X.EXECUTING_WITH_WAITPOINTS, Event.UNBLOCK): State(_X.EXECUTING, _R.EXECUTING),
    (_X.SUSPENDED, Event.UNBLOCK): _QUEUED,
    (_X.EXECUTING, Event.CHECKPOINT): _SUSPENDED,
    (_X.EXECUTING_WITH_WAITPOINTS, Event.CHECKPOINT): _SUSPENDED,
    (_X.QUEUED_EXECUTING, Event.CHECKPOINT): _QUEUED,
    **{
        (state, Event.SUCCEED): State(_X.FINISHED, _R.COMPLETED_SUCCESSFULLY)
        for state in _EXECUTING
    },
    **{
        (state, Event.RETRY_IN_PLACE): State(_X.EXECUTING, _R.RETRYING_AFTER_FAILURE)
        for state in _EXECUTING
    },
    **{(state, Event.RETRY_QUEUED): _QUEUED for state in _EXECUTING},
    **{(state, Event.FAIL): _ENDED for state in (*_EXECUTING, _X.PENDING_EXECUTING, _X.QUEUED)},
    (_X.PENDING_EXECUTING, Event.REQUEUE): _QUEUED,
    **{(state, Event.CANCEL): _CANCELING for state in (*_EXECUTING, _X.PENDING_EXECUTING)},
    (_X.QUEUED_EXECUTING, Event.CANCEL): _CANCELING,
    **{
        (state, Event.CANCEL): _CANCELED
        for state in (_X.RUN_CREATED, _X.DELAYED, _X.QUEUED, _X.SUSPENDED)
    },
    (_X.PENDING_CANCEL, Event.CONFIRM_CANCEL): _CANCELED,
    **{
        (state, Event.EXPIRE): State(_X.FINISHED, _R.EXPIRED)
        for state in (_X.RUN_CREATED, _X.DELAYED, _X.QUEUED)
    },
}

# The states in which a run holds a lease, and with it a slot of its queue and environment.
LEASED: frozenset[ExecutionStatus] = frozenset(
    {
        _X.PENDING_EXECUTING,
        _X.EXECUTING,
        _X.EXECUTING_WITH_WAITPOINTS,
        _X.QUEUED_EXECUTING,
        _X.PENDING_CANCEL,
    }
)


def next_state(state: ExecutionStatus, event: Event, *, outcome: RunStatus | None = None) -> State:
    """Give both states after the move.

    Rule: the table decides; a move whose entry has no run status takes `outcome`, a final one.
    Raises `IllegalMove` when the table has no such move.

    >>> next_state(ExecutionStatus.QUEUED, Event.DEQUEUE).run
    <RunStatus.DEQUEUED: 'DEQUEUED'>
    """
    target = TRANSITIONS.get((state, event))
    if target is None or (target.run is None and outcome not in FINAL):
        raise IllegalMove(state, event)
    return target if target.run is not None else State(target.execution, outcome)
