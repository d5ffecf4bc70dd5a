"""What follows a failed attempt, how long things wait, durations, and where a run goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from runs.durations import MAX_S, key_ttl_s, moment_of, seconds_of, text_of
from runs.machines import PRESETS, machines_within
from runs.placement import Enrollment, PlacementInput, PlacementRequest, Why, decide_placement
from runs.retry import (
    MAX_ATTEMPTS,
    NOT_RETRIED,
    OUT_OF_MEMORY,
    RETRIED_BY_SETTINGS,
    STATUS_BY_CODE,
    After,
    Decision,
    Failure,
    decide_after_failure,
    dispatch_delay_ms,
    redelivery_delay_ms,
    settings_delay_ms,
    status_for_error,
)
from runs.states import FINAL, RunStatus
from runs.storable import storable

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ERRORS = RunStatus.COMPLETED_WITH_ERRORS
RAISED = {"type": "BUILT_IN_ERROR", "name": "E", "message": "m"}

# code -> the status it ends a run with
CODES = {
    "TASK_RUN_CANCELLED": "CANCELED",
    "MAX_DURATION_EXCEEDED": "TIMED_OUT",
    "TASK_PROCESS_OOM_KILLED": "CRASHED",
    "TASK_PROCESS_MAYBE_OOM_KILLED": "CRASHED",
    "TASK_PROCESS_SIGSEGV": "CRASHED",
    "TASK_PROCESS_SIGTERM": "CRASHED",
    "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE": "CRASHED",
    "DISK_SPACE_EXCEEDED": "CRASHED",
    "TASK_RUN_CRASHED": "CRASHED",
    "HANDLE_ERROR_ERROR": "CRASHED",
    "OUTDATED_SDK_VERSION": "CRASHED",
    "TASK_RUN_HEARTBEAT_TIMEOUT": "CRASHED",
    "TASK_EXECUTION_FAILED": "COMPLETED_WITH_ERRORS",
    "TASK_INPUT_ERROR": "COMPLETED_WITH_ERRORS",
    "TASK_OUTPUT_ERROR": "COMPLETED_WITH_ERRORS",
    "TASK_RUN_UNCAUGHT_EXCEPTION": "COMPLETED_WITH_ERRORS",
    "TASK_RUN_STALLED_EXECUTING": "COMPLETED_WITH_ERRORS",
    "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS": "COMPLETED_WITH_ERRORS",
    "TASK_MIDDLEWARE_ERROR": "COMPLETED_WITH_ERRORS",
    "TASK_RUN_DEQUEUED_MAX_RETRIES": "SYSTEM_FAILURE",
    "TASK_DEQUEUED_INVALID_STATE": "SYSTEM_FAILURE",
    "COULD_NOT_FIND_TASK": "SYSTEM_FAILURE",
    "COULD_NOT_IMPORT_TASK": "SYSTEM_FAILURE",
    "CONFIGURED_INCORRECTLY": "SYSTEM_FAILURE",
    "SOMETHING_NEW": "SYSTEM_FAILURE",
}
ENDED = NOT_RETRIED - {"TASK_RUN_CANCELLED"}
RETRIED = sorted(set(CODES) - NOT_RETRIED - OUT_OF_MEMORY)


def internal(code: str) -> dict[str, Any]:
    """Give an error of the platform or the runner."""
    return {"type": "INTERNAL_ERROR", "code": code}


def decide(error: dict[str, Any], **given: Any) -> Decision:
    """Decide about the first of three attempts that asks to be tried again after a second."""
    base = Failure(error, attempt_number=1, max_attempts=3, retry_delay_ms=1000)
    return decide_after_failure(base._replace(**given))


def test_the_list_of_codes_is_whole() -> None:
    """Every code the module knows has its row above."""
    assert set(STATUS_BY_CODE) | NOT_RETRIED | RETRIED_BY_SETTINGS | OUT_OF_MEMORY <= set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_names_the_final_status(code: str) -> None:
    """An error ends a run with its status, an unknown one as a failure of the system."""
    assert status_for_error(internal(code)) == CODES[code]
    assert decide(internal(code), attempt_number=3).status == CODES[code]


@pytest.mark.parametrize("kind", ["BUILT_IN_ERROR", "CUSTOM_ERROR", "STRING_ERROR"])
def test_an_error_of_the_task_ends_with_errors(kind: str) -> None:
    """What task code raised is never the system's failure, whatever it carries."""
    assert status_for_error({"type": kind, "code": "MAX_DURATION_EXCEEDED"}) is ERRORS


def test_a_canceled_attempt_is_canceled() -> None:
    """Nothing else counts then."""
    assert decide(internal("TASK_RUN_CANCELLED")) == (After.CANCEL, RunStatus.CANCELED, 0, None)


@pytest.mark.parametrize("code", sorted(ENDED))
def test_what_no_attempt_can_help_ends(code: str) -> None:
    """Codes that are not retried end the run although attempts are left and the runner asks."""
    assert decide(internal(code)).after is After.END


@pytest.mark.parametrize("code", RETRIED)
def test_other_codes_are_retried_when_the_runner_says_when(code: str) -> None:
    """With a timing and attempts left the next attempt starts in place."""
    assert decide(internal(code))[:3] == (After.RETRY_IN_PLACE, RunStatus(CODES[code]), 1000)


@pytest.mark.parametrize("code", RETRIED)
def test_without_a_timing_only_a_died_process_is_retried(code: str) -> None:
    """The version's settings say when; the workload is gone, so it goes through the queue."""
    decided = decide(internal(code), retry_delay_ms=None, settings_delay_ms=7)
    by_settings = code in RETRIED_BY_SETTINGS
    expected = (After.RETRY_QUEUED, 7) if by_settings else (After.END, 0)
    assert (decided.after, decided.delay_ms) == expected


@pytest.mark.parametrize("code", sorted(OUT_OF_MEMORY))
def test_memory_is_retried_on_another_machine_only(code: str) -> None:
    """Without a larger machine, or an attempt left, the run ends."""
    error = internal(code)
    assert decide(error).after is After.END
    larger = decide(error, larger_machine="large-1x")
    assert larger == (After.RETRY_QUEUED, RunStatus.CRASHED, 0, "large-1x")
    assert decide(error, larger_machine="large-1x", attempt_number=3).after is After.END


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({}, After.RETRY_IN_PLACE),
        ({"retry_delay_ms": 0}, After.RETRY_IN_PLACE),
        ({"retry_delay_ms": -5}, After.RETRY_IN_PLACE),
        ({"retry_delay_ms": 29_999}, After.RETRY_IN_PLACE),
        ({"retry_delay_ms": 30_000}, After.RETRY_QUEUED),
        ({"retry_delay_ms": 5, "warm_start_threshold_ms": 5}, After.RETRY_QUEUED),
        ({"force_queue": True}, After.RETRY_QUEUED),
        ({"retry_delay_ms": None}, After.END),
        ({"skipped_retrying": True}, After.END),
        ({"attempt_number": 2}, After.RETRY_IN_PLACE),
        ({"attempt_number": 3}, After.END),
        ({"max_attempts": 1}, After.END),
        ({"attempt_number": MAX_ATTEMPTS - 1, "max_attempts": 9999}, After.RETRY_IN_PLACE),
        ({"attempt_number": MAX_ATTEMPTS, "max_attempts": 9999}, After.END),
    ],
)
def test_what_the_task_raised_is_retried_by_its_configuration(given: Any, after: After) -> None:
    """In place while the wait is short, through the queue when long or forced, else it ends."""
    assert decide(RAISED, **given).after is after


def test_waits_are_whole_and_bounded() -> None:
    """A runner cannot ask for a past or for more than a year."""
    waits = [decide(RAISED, retry_delay_ms=ms).delay_ms for ms in (-5, 0.9, 1e300, float("inf"))]
    assert waits == [0, 0, 365 * 86_400_000, 365 * 86_400_000]


@pytest.mark.parametrize(
    ("retry", "attempt", "jitter", "wait_ms"),
    [
        (None, 1, 0.0, 1000),
        (None, 3, 0.5, 6000),
        (None, 250, 0.9, 60_000),
        ({}, 2, 0.0, 2000),
        ({"minTimeoutInMs": 10, "factor": 3, "randomize": False}, 3, 0.9, 90),
        ({"minTimeoutInMs": 90_000, "randomize": False}, 1, 0.9, 60_000),
        ({"minTimeoutInMs": 10, "maxTimeoutInMs": 15}, 2, 0.9, 15),
        ({"factor": 1e308}, 250, 0.9, 60_000),
        ({"maxTimeoutInMs": 1e300, "factor": 1e308}, 250, 0.9, 365 * 86_400_000),
    ],
)
def test_settings_say_how_long_to_wait(
    retry: Any, attempt: int, jitter: float, wait_ms: int
) -> None:
    """Min x factor^(n-1), spread by the jitter, never above the cap; a default for what is unset."""
    assert settings_delay_ms(retry, attempt, jitter=jitter) == wait_ms


def test_lost_leases_wait_longer_and_longer() -> None:
    """1 s x 2^(n-1) x [1, 2), at most an hour; failed starts 1 s x 2^n, at most a minute."""
    assert [redelivery_delay_ms(n, jitter=0.0) for n in (1, 2, 11)] == [1000, 2000, 1_024_000]
    assert redelivery_delay_ms(1000, jitter=0.99) == 3_600_000
    assert [dispatch_delay_ms(n) for n in (-1, 0, 5, 6, 1000)] == [
        1000,
        1000,
        32_000,
        60_000,
        60_000,
    ]


# -- durations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("2h30m", 9000),
        ("1hr", 3600),
        ("1w1d", 691_200),
        ("0s", 0),
        ("1m1m", 120),
        ("5200w", 5200 * 604_800),
        ("5300w", None),
        ("", None),
        ("10", None),
        ("1 h", None),
        ("-1h", None),
        ("1.5h", None),
        ("1H", None),
        ("\u0661h", None),
        ("1s" * 51, None),
    ],
)
def test_a_duration_is_any_chain_of_numbers_with_units(text: str, seconds: int | None) -> None:
    """Everything else is none."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("seconds", [0, 1, 59, 60, 3661, 86_400, 10 * 86_400 + 1])
def test_seconds_are_written_as_they_are_read(seconds: int) -> None:
    """What is shown can be sent again."""
    assert seconds_of(text_of(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("2d", 172_800),
        (None, 7),
        ("", 7),
        ("1w", 7),
        ("1h30m", 7),
        ("9" * 99 + "d", MAX_S),
    ],
)
def test_a_keys_lifetime_is_one_number_with_a_unit(text: str | None, seconds: int) -> None:
    """Other forms mean the default."""
    assert key_ttl_s(text, default_s=7) == seconds


def test_a_moment_is_a_duration_or_a_date() -> None:
    """Both become aware UTC."""
    assert moment_of("90s", now=NOW) == NOW + timedelta(seconds=90)
    assert moment_of("2026-11-22T14:00:00+02:00", now=NOW) == NOW
    assert moment_of("0001-01-01T00:00:00+23:59", now=NOW) is None


def test_nothing_unstorable_is_left() -> None:
    """NUL and halves of a surrogate pair are replaced, everything else stays."""
    assert storable("a\x00\udc80b\U0001f600") == "a\ufffd\ufffdb\U0001f600"


# -- placement ------------------------------------------------------------------------------------


class Group(NamedTuple):
    """A worker group as the decision reads it."""

    type: str = "MANAGED"
    workload_type: str = "CONTAINER"
    master_queue: str = "q"
    region: str | None = "us-east-1"


REQUEST = PlacementRequest(development_queue=None, pinned=False, regions_loaded=True)
PINNED = REQUEST._replace(pinned=True)
COLD = REQUEST._replace(regions_loaded=False)


@pytest.mark.parametrize(
    ("base", "request_", "why", "region"),
    [
        (None, REQUEST._replace(development_queue="env_1"), Why.DEVELOPMENT, None),
        (Group(workload_type="MICROVM"), PINNED, Why.PINNED, "us-east-1"),
        (Group(region=None), PINNED, Why.PINNED, "q"),
        (Group(type="UNMANAGED"), REQUEST, Why.BASE_NOT_ELIGIBLE, "us-east-1"),
        (Group(workload_type="MICROVM"), REQUEST, Why.BASE_NOT_ELIGIBLE, "us-east-1"),
        (Group(type="UNMANAGED", region=None), COLD, Why.BASE_NOT_ELIGIBLE, "q"),
        (Group(region=None), REQUEST, Why.NO_LABEL, "q"),
        (Group(region=""), REQUEST, Why.NO_LABEL, "q"),
        (Group(), COLD, Why.NO_LABEL, "us-east-1"),
        (Group(), REQUEST, Why.NOT_ENROLLED, "us-east-1"),
    ],
)
def test_a_placement_says_why(
    base: Group | None, request_: PlacementRequest, why: Why, region: str | None
) -> None:
    """The first reason that holds, with the base's queue and its geography."""
    placed = decide_placement(PlacementInput(base, object(), request_))
    queue = "env_1" if base is None else "q"
    assert placed == (queue, region, Enrollment.GLOBAL_OFF, why)


def test_cold_flags_enroll_nobody() -> None:
    """Without a flag snapshot the enrollment says so, and the run stays where it is."""
    placed = decide_placement(PlacementInput(Group(), None, REQUEST))
    assert (placed.enrollment, placed.worker_queue) == (Enrollment.COLD, "q")


def test_every_error_status_is_final() -> None:
    """No error leaves a run between two states."""
    assert set(STATUS_BY_CODE.values()) <= FINAL


@pytest.mark.parametrize(
    ("cpu", "memory", "count"),
    [(0, 0, 0), (0.25, 0.25, 1), (1, 2, 4), (100, 100, len(PRESETS)), (float("nan"), 8, 0)],
)
def test_machines_fit_by_both_figures(cpu: float, memory: float, count: int) -> None:
    """A machine fits when it has both cores and memory."""
    assert len(machines_within(cpu=cpu, memory=memory)) == count
