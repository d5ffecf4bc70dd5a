"""What becomes of a run whose attempt failed, or whose workload could not be started. Pure.

`decide_after_failure` is one function from error and configuration to outcome.

Source: `docs/run-states.md`; the codes are those of the worker API.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from runs.machines import DEFAULT_MACHINE, PRESETS
from runs.states import RunStatus

MAX_ATTEMPTS = 250  # beyond any configuration, a run ends
MAX_DELIVERIES = 12  # lost leases in a row; the twelfth ends the run
MAX_LOST_ATTEMPTS = 12  # of a run that do not count; what ends its machine each time ends as well
REDELIVERY_BASE_MS = 1_000
REDELIVERY_CAP_MS = 3_600_000
DISPATCH_CAP_MS = 60_000
RETRY_MIN_MS = 1_000  # the default policy: 1 s x 2^n with jitter, at most 60 s
RETRY_MAX_MS = 60_000
RETRY_FACTOR = 2.0
MAX_DELAY_MS = 365 * 86_400_000

CANCELLED = "TASK_RUN_CANCELLED"
OUT_OF_MEMORY = frozenset({"TASK_PROCESS_OOM_KILLED", "TASK_PROCESS_MAYBE_OOM_KILLED"})
STALLED = frozenset({"TASK_RUN_STALLED_EXECUTING", "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS"})

# The attempt ended with what executed it: its worker died or was stopped. No doing of its task's.
LOST: frozenset[str] = STALLED | {"TASK_PROCESS_SIGTERM"}

# The final status of an internal error by its code: CRASHED is the task's or its settings' doing,
# SYSTEM_FAILURE ours, as is any other code. What the task raised ends as COMPLETED_WITH_ERRORS.
STATUS_BY_CODE: dict[str, RunStatus] = {
    CANCELLED: RunStatus.CANCELED,
    "MAX_DURATION_EXCEEDED": RunStatus.TIMED_OUT,
    **dict.fromkeys(
        (
            *sorted(OUT_OF_MEMORY),
            "TASK_PROCESS_SIGSEGV",
            "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
            "DISK_SPACE_EXCEEDED",
            "TASK_RUN_CRASHED",
            "HANDLE_ERROR_ERROR",
            "OUTDATED_SDK_VERSION",
        ),
        RunStatus.CRASHED,
    ),
    **dict.fromkeys(
        (
            "TASK_INPUT_ERROR",
            "TASK_OUTPUT_ERROR",
            "TASK_RUN_UNCAUGHT_EXCEPTION",
            "TASK_MIDDLEWARE_ERROR",
            "RECURSIVE_WAIT_DEADLOCK",
            *sorted(STALLED),
        ),
        RunStatus.COMPLETED_WITH_ERRORS,
    ),
}

# Another attempt cannot help, or must not happen.
NOT_RETRIED: frozenset[str] = frozenset(
    {
        CANCELLED,
        "MAX_DURATION_EXCEEDED",
        "DISK_SPACE_EXCEEDED",
        "TASK_INPUT_ERROR",
        "TASK_OUTPUT_ERROR",
        "OUTDATED_SDK_VERSION",
        "HANDLE_ERROR_ERROR",
        "COULD_NOT_FIND_EXECUTOR",
        "COULD_NOT_FIND_TASK",
        "COULD_NOT_IMPORT_TASK",
        "CONFIGURED_INCORRECTLY",
        "TASK_ALREADY_RUNNING",
        "TASK_PROCESS_SIGKILL_TIMEOUT",
        "TASK_RUN_HEARTBEAT_TIMEOUT",
        "TASK_DID_CONCURRENT_WAIT",
        "RECURSIVE_WAIT_DEADLOCK",
        "TASK_RUN_DEQUEUED_MAX_RETRIES",
        "TASK_DEQUEUED_INVALID_STATE",
        "TASK_DEQUEUED_QUEUE_NOT_FOUND",
        "TASK_HAS_N0_EXECUTION_SNAPSHOT",
        "BATCH_ITEM_COULD_NOT_TRIGGER",
        "PAYLOAD_TOO_LARGE",
        "UNSPECIFIED_ERROR",
    }
)

# The process died before the runner could say when to try again: the version's settings say it.
RETRIED_BY_SETTINGS: frozenset[str] = frozenset(
    {
        "TASK_PROCESS_SIGSEGV",
        "TASK_PROCESS_SIGTERM",
        "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
        "TASK_RUN_UNCAUGHT_EXCEPTION",
        "TASK_MIDDLEWARE_ERROR",
    }
)


class After(StrEnum):
    """What follows a failed attempt."""

    CANCEL = "cancel"  # it was canceled; finish that
    RETRY_IN_PLACE = "retry_in_place"  # the same workload starts the next attempt
    RETRY_QUEUED = "retry_queued"  # the next attempt starts from the queue
    END = "end"  # no attempt is left, or none can help


class Failure(NamedTuple):
    """A failed attempt and what the run is configured to do."""

    error: dict[str, Any]  # a TaskError of the worker API
    attempt_number: int  # the attempt that failed, from 1
    max_attempts: int  # the first one included, lost ones not counted
    retry_delay_ms: float | None  # what the runner asks for; None: it asks for nothing
    lost_attempts: int = 0  # of those before it
    skipped_retrying: bool = False  # the task said that no retry can help
    force_queue: bool = False  # the workload is gone
    warm_start_threshold_ms: int = 30_000
    larger_machine: str | None = None  # where to retry when memory ran out
    settings_delay_ms: int = RETRY_MIN_MS  # what the version's settings say, should the runner not
    in_development: bool = False  # whoever developed it may have stopped it


class Decision(NamedTuple):
    """What follows."""

    after: After
    status: RunStatus  # the run's final status, should it end
    delay_ms: int = 0
    machine: str | None = None  # another preset for the next attempt
    is_lost: bool = False  # the attempt does not count


def code_of(error: dict[str, Any]) -> str | None:
    """Give the code of an internal error, None for an error of the task's own."""
    return error.get("code") if error.get("type") == "INTERNAL_ERROR" else None


def status_for_error(error: dict[str, Any]) -> RunStatus:
    """Give the final status an error ends a run with; an unknown code is a system failure.

    >>> status_for_error({"type": "INTERNAL_ERROR", "code": "MAX_DURATION_EXCEEDED"}).value
    'TIMED_OUT'
    """
    code = code_of(error)
    if code is None:
        return RunStatus.COMPLETED_WITH_ERRORS
    return STATUS_BY_CODE.get(code, RunStatus.SYSTEM_FAILURE)


def decide_after_failure(failure: Failure) -> Decision:
    """Give what follows a failed attempt.

    Rule, first that holds: canceled; silent in development, where nobody is left to try again and
    nothing failed; out of memory (only on another machine); a code that is not retried, or the
    task refused; no attempt left, and this one not lost; no timing and no settings to take one
    from; else retry, in place when the delay is short and the workload is still there.
    """
    status, code = status_for_error(failure.error), code_of(failure.error)
    end = Decision(After.END, status)
    if code == CANCELLED:
        return Decision(After.CANCEL, RunStatus.CANCELED)
    if code in STALLED and failure.in_development:
        return Decision(After.END, RunStatus.CANCELED)
    if code in OUT_OF_MEMORY:
        return _after_out_of_memory(failure, end)
    is_lost = _is_lost(failure, code)
    if _is_over(failure, code, is_lost=is_lost):
        return end
    asked_ms = failure.retry_delay_ms
    delay_ms = failure.settings_delay_ms if asked_ms is None else _whole_ms(asked_ms)
    from_queue = (
        failure.force_queue or asked_ms is None or delay_ms >= failure.warm_start_threshold_ms
    )
    after = After.RETRY_QUEUED if from_queue else After.RETRY_IN_PLACE
    return Decision(after, status, delay_ms, is_lost=is_lost)


def _after_out_of_memory(failure: Failure, end: Decision) -> Decision:
    if failure.larger_machine is None or not _has_attempt_left(failure):
        return end
    return Decision(After.RETRY_QUEUED, end.status, 0, failure.larger_machine)


def _is_over(failure: Failure, code: str | None, *, is_lost: bool) -> bool:
    is_refused = code in NOT_RETRIED or failure.skipped_retrying
    is_spent = not is_lost and not _has_attempt_left(failure)
    is_untimed = failure.retry_delay_ms is None and code not in RETRIED_BY_SETTINGS
    return is_refused or is_spent or is_untimed


def _has_attempt_left(failure: Failure) -> bool:
    return failure.attempt_number < most_attempts(failure.max_attempts, failure.lost_attempts)


def _is_lost(failure: Failure, code: str | None) -> bool:
    """Tell whether the attempt does not count: a task that may be tried once only is tried once."""
    return (
        code in LOST
        and failure.max_attempts > 1
        and failure.lost_attempts < MAX_LOST_ATTEMPTS
        and failure.attempt_number < MAX_ATTEMPTS
    )


def most_attempts(max_attempts: int, lost_attempts: int) -> int:
    """Give how many attempts a run may begin: those it may have, and one more for each lost.

    >>> most_attempts(3, 1)
    4
    """
    return min(max_attempts + lost_attempts, MAX_ATTEMPTS)


def _whole_ms(delay_ms: float) -> int:
    return int(min(max(delay_ms, 0), MAX_DELAY_MS))


def larger_machine(retry: Mapping[str, Any] | None, machine: str | None) -> str | None:
    """Give where an attempt that ran out of memory is tried again, None when nowhere.

    `retry` are a task's settings in wire form, `machine` is the preset the attempt ran on. The
    preset that the settings name counts only when it has more memory: on any other the attempt
    would end as this one did, which also ends a run that the larger machine was too small for.

    >>> larger_machine({"outOfMemory": {"machine": "large-1x"}}, "small-1x")
    'large-1x'
    >>> larger_machine({"outOfMemory": {"machine": "large-1x"}}, "large-1x")
    """
    named = PRESETS.get(((retry or {}).get("outOfMemory") or {}).get("machine") or "")
    if named is None or named.memory <= PRESETS[machine or DEFAULT_MACHINE].memory:
        return None
    return named.name


def settings_delay_ms(
    retry: Mapping[str, Any] | None, attempt_number: int, *, jitter: float
) -> int:
    """Give the wait after a failed attempt by a task's retry settings (wire form; None: default).

    `attempt_number` counts from 1; `jitter` is in [0, 1). min x factor^(n-1), spread by the jitter
    unless the settings say otherwise, never above the cap.

    >>> settings_delay_ms({"minTimeoutInMs": 10, "factor": 3, "randomize": False}, 3, jitter=0.5)
    90
    """
    given = retry or {}
    delay_ms = float(given.get("minTimeoutInMs", RETRY_MIN_MS))
    cap_ms = min(float(given.get("maxTimeoutInMs", RETRY_MAX_MS)), MAX_DELAY_MS)
    for _ in range(min(attempt_number, MAX_ATTEMPTS) - 1):
        delay_ms = min(delay_ms * float(given.get("factor", RETRY_FACTOR)), cap_ms)
    spread = 1 + jitter if given.get("randomize", True) else 1.0
    return int(min(delay_ms * spread, cap_ms))


def redelivery_delay_ms(deliveries: int, *, jitter: float) -> int:
    """Give the wait before a run whose lease was lost is handed out again.

    `deliveries` counts this loss, from 1; `jitter` is in [0, 1). 1 s x 2^(n-1) x [1, 2), at most
    an hour.

    >>> redelivery_delay_ms(3, jitter=0.5)
    6000
    """
    base = REDELIVERY_BASE_MS * 2 ** min(deliveries - 1, 20)
    return int(min(base * (1 + jitter), REDELIVERY_CAP_MS))


def dispatch_delay_ms(deliveries: int) -> int:
    """Give the wait before a run whose workload could not be started is handed out again.

    `deliveries` counts the failed starts before this one. 1 s x 2^n, at most 60 s.

    >>> [dispatch_delay_ms(n) for n in (0, 1, 10)]
    [1000, 2000, 60000]
    """
    return int(min(REDELIVERY_BASE_MS * 2 ** min(max(deliveries, 0), 20), DISPATCH_CAP_MS))
