"""What is done with a run whose workload fell silent. Pure.

Which silence is too long is said by the settings of each status, and kept as the lease's deadline.
What follows a failed attempt is decided by `runs/retry.py`, as for any other failure.

Source: `docs/run-states.md`; the codes are those of the worker API.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from runs.states import ExecutionStatus

RETRY_MS = 250
"""How long the next attempt waits after one that fell silent."""


class Repair(StrEnum):
    """What brings the run back."""

    REDELIVER = "redeliver"  # no attempt was started: hand it out again, later each time
    FAIL_ATTEMPT = "fail_attempt"  # the next attempt starts from the queue, while one is left
    CONFIRM_CANCEL = "confirm_cancel"  # it was canceled; no word of the workload is needed


class Stalled(NamedTuple):
    """What is done, and the code of the error that says why."""

    repair: Repair
    code: str | None = None


def decide_stall(status: ExecutionStatus) -> Stalled | None:
    """Give what is done with a silent run of this status; None where silence means nothing.

    >>> decide_stall(ExecutionStatus.PENDING_EXECUTING).repair
    <Repair.REDELIVER: 'redeliver'>
    """
    return _STALLS.get(status)


_X = ExecutionStatus
_STALLS: dict[ExecutionStatus, Stalled] = {
    _X.PENDING_EXECUTING: Stalled(Repair.REDELIVER),
    _X.EXECUTING: Stalled(Repair.FAIL_ATTEMPT, "TASK_RUN_STALLED_EXECUTING"),
    _X.EXECUTING_WITH_WAITPOINTS: Stalled(
        Repair.FAIL_ATTEMPT, "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS"
    ),
    _X.PENDING_CANCEL: Stalled(Repair.CONFIRM_CANCEL),
}
