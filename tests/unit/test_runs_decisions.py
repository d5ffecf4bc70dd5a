"""What follows a failed attempt, how long things wait, durations, and where a run goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs.durations import MAX_S, key_ttl_s, moment_of, seconds_of, text_of
from runs.machines import PRESETS, machines_within
from runs.retry import (
    LOST,
    MAX_ATTEMPTS,
    MAX_LOST_ATTEMPTS,
    NOT_RETRIED,
    OUT_OF_MEMORY,
    RETRIED_BY_SETTINGS,
    STALLED,
    STATUS_BY_CODE,
    After,
    Decision,
    Failure,
    decide_after_failure,
    dispatch_delay_ms,
    larger_machine,
    most_attempts,
    redelivery_delay_ms,
    settings_delay_ms,
    status_for_error,
)
from runs.states import FINAL, RunStatus
from runs.storable import json_value, storable

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ERRORS = RunStatus.COMPLETED_WITH_ERRORS
RAISED = {"type": "BUILT_IN_ERROR", "name": "E", "message": "m"}

# code -> the status it ends a run with; whether it is tried again when the runner says when, and when
# it does not. Running out of memory has a rule of its own.
CODES = {
    "TASK_RUN_CANCELLED": ("CANCELED", False, False),
    "MAX_DURATION_EXCEEDED": ("TIMED_OUT", False, False),
    "TASK_PROCESS_OOM_KILLED": ("CRASHED", False, False),
    "TASK_PROCESS_MAYBE_OOM_KILLED": ("CRASHED", False, False),
    "TASK_PROCESS_SIGSEGV": ("CRASHED", True, True),
    "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE": ("CRASHED", True, True),
    "DISK_SPACE_EXCEEDED": ("CRASHED", False, False),
    "TASK_RUN_CRASHED": ("CRASHED", True, False),
    "HANDLE_ERROR_ERROR": ("CRASHED", False, False),
    "OUTDATED_SDK_VERSION": ("CRASHED", False, False),
    "TASK_INPUT_ERROR": ("COMPLETED_WITH_ERRORS", False, False),
    "TASK_OUTPUT_ERROR": ("COMPLETED_WITH_ERRORS", False, False),
    "TASK_MIDDLEWARE_ERROR": ("COMPLETED_WITH_ERRORS", True, True),
    "TASK_RUN_UNCAUGHT_EXCEPTION": ("COMPLETED_WITH_ERRORS", True, True),
    "TASK_RUN_STALLED_EXECUTING": ("COMPLETED_WITH_ERRORS", True, False),
    "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS": ("COMPLETED_WITH_ERRORS", True, False),
    "RECURSIVE_WAIT_DEADLOCK": ("COMPLETED_WITH_ERRORS", False, False),
    "TASK_PROCESS_SIGTERM": ("SYSTEM_FAILURE", True, True),
    "TASK_EXECUTION_FAILED": ("SYSTEM_FAILURE", True, False),
    "TASK_EXECUTION_ABORTED": ("SYSTEM_FAILURE", True, False),
    "GRACEFUL_EXIT_TIMEOUT": ("SYSTEM_FAILURE", True, False),
    "POD_EVICTED": ("SYSTEM_FAILURE", True, False),
    "POD_UNKNOWN_ERROR": ("SYSTEM_FAILURE", True, False),
    "TASK_RUN_HEARTBEAT_TIMEOUT": ("SYSTEM_FAILURE", False, False),
    "TASK_PROCESS_SIGKILL_TIMEOUT": ("SYSTEM_FAILURE", False, False),
    "TASK_ALREADY_RUNNING": ("SYSTEM_FAILURE", False, False),
    "TASK_DID_CONCURRENT_WAIT": ("SYSTEM_FAILURE", False, False),
    "TASK_HAS_N0_EXECUTION_SNAPSHOT": ("SYSTEM_FAILURE", False, False),
    "TASK_RUN_DEQUEUED_MAX_RETRIES": ("SYSTEM_FAILURE", False, False),
    "TASK_DEQUEUED_INVALID_STATE": ("SYSTEM_FAILURE", False, False),
    "TASK_DEQUEUED_QUEUE_NOT_FOUND": ("SYSTEM_FAILURE", False, False),
    "COULD_NOT_FIND_EXECUTOR": ("SYSTEM_FAILURE", False, False),
    "COULD_NOT_FIND_TASK": ("SYSTEM_FAILURE", False, False),
    "COULD_NOT_IMPORT_TASK": ("SYSTEM_FAILURE", False, False),
    "CONFIGURED_INCORRECTLY": ("SYSTEM_FAILURE", False, False),
    "BATCH_ITEM_COULD_NOT_TRIGGER": ("SYSTEM_FAILURE", False, False),
    "PAYLOAD_TOO_LARGE": ("SYSTEM_FAILURE", False, False),
    "UNSPECIFIED_ERROR": ("SYSTEM_FAILURE", False, False),
    "SOMETHING_NEW": ("SYSTEM_FAILURE", True, False),
}
ENDED = sorted(code for code, (_, retried, _) in CODES.items() if not retried)
RETRIED = sorted(set(CODES) - set(ENDED))


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
    status, _, _ = CODES[code]
    assert status_for_error(internal(code)) == status
    assert decide(internal(code), attempt_number=3).status == status


@pytest.mark.parametrize("code", sorted(CODES))
def test_only_an_attempt_lost_with_its_worker_does_not_count(code: str) -> None:
    """The last try fails the run, whoever is to blame, unless it was lost: that one is free."""
    decided = decide(internal(code), attempt_number=3)
    assert decided.is_lost == (code in LOST)
    assert (decided.after in {After.RETRY_IN_PLACE, After.RETRY_QUEUED}) == (code in LOST)


@pytest.mark.parametrize("code", sorted(LOST))
@pytest.mark.parametrize(
    ("given", "is_lost", "is_retried"),
    [
        ({"attempt_number": 3}, True, True),
        ({"attempt_number": 5, "lost_attempts": 2}, True, True),
        ({"attempt_number": 14, "lost_attempts": MAX_LOST_ATTEMPTS - 1}, True, True),
        ({"attempt_number": 14, "lost_attempts": MAX_LOST_ATTEMPTS}, False, True),
        ({"attempt_number": 15, "lost_attempts": MAX_LOST_ATTEMPTS}, False, False),
        ({"max_attempts": 1}, False, False),
        ({"attempt_number": MAX_ATTEMPTS, "max_attempts": 9999}, False, False),
        ({"skipped_retrying": True}, False, False),
    ],
)
def test_lost_attempts_are_free_up_to_a_number(
    code: str, given: Any, is_lost: bool, is_retried: bool
) -> None:
    """A dozen in a run; never for a task that may be tried once only, nor beyond any run's most."""
    decided = decide(internal(code), **given)
    assert (decided.is_lost, decided.after is not After.END) == (is_lost, is_retried)


def test_a_lost_attempt_leaves_the_others_as_they_were() -> None:
    """After two lost ones the fifth attempt is the third that counts: what it raises ends the run."""
    assert decide(RAISED, attempt_number=4, lost_attempts=2).after is After.RETRY_IN_PLACE
    assert decide(RAISED, attempt_number=5, lost_attempts=2).after is After.END
    assert (most_attempts(3, 2), most_attempts(MAX_ATTEMPTS, 2)) == (5, MAX_ATTEMPTS)


@pytest.mark.parametrize("kind", ["BUILT_IN_ERROR", "CUSTOM_ERROR", "STRING_ERROR"])
def test_an_error_of_the_task_ends_with_errors(kind: str) -> None:
    """What task code raised is never the system's failure, whatever it carries."""
    assert status_for_error({"type": kind, "code": "MAX_DURATION_EXCEEDED"}) is ERRORS


def test_a_canceled_attempt_is_canceled() -> None:
    """Nothing else counts then."""
    assert decide(internal("TASK_RUN_CANCELLED")) == Decision(After.CANCEL, RunStatus.CANCELED)


@pytest.mark.parametrize("code", sorted(set(ENDED) - {"TASK_RUN_CANCELLED"}))
def test_what_no_attempt_can_help_ends(code: str) -> None:
    """Codes that are not retried end the run although attempts are left and the runner asks."""
    assert decide(internal(code)).after is After.END


@pytest.mark.parametrize("code", sorted(STALLED))
def test_silence_in_development_cancels(code: str) -> None:
    """Whoever developed has stopped: nobody is there to try again, and nothing failed."""
    decided = decide(internal(code), in_development=True, force_queue=True)
    assert decided == Decision(After.END, RunStatus.CANCELED)
    assert decide(RAISED, in_development=True).after is After.RETRY_IN_PLACE


@pytest.mark.parametrize("code", RETRIED)
def test_other_codes_are_retried_when_the_runner_says_when(code: str) -> None:
    """With a timing and attempts left the next attempt starts in place."""
    assert decide(internal(code))[:3] == (After.RETRY_IN_PLACE, CODES[code][0], 1000)


@pytest.mark.parametrize("code", RETRIED)
def test_without_a_timing_only_a_died_process_is_retried(code: str) -> None:
    """The version's settings say when; the workload is gone, so it goes through the queue."""
    decided = decide(internal(code), retry_delay_ms=None, settings_delay_ms=7)
    _, _, by_settings = CODES[code]
    expected = (After.RETRY_QUEUED, 7) if by_settings else (After.END, 0)
    assert (decided.after, decided.delay_ms) == expected


@pytest.mark.parametrize("code", sorted(OUT_OF_MEMORY))
def test_memory_is_retried_on_another_machine_only(code: str) -> None:
    """Without a larger machine, or an attempt left, the run ends."""
    error = internal(code)
    assert decide(error).after is After.END
    larger = decide(error, larger_machine="large-1x")
    assert larger == Decision(After.RETRY_QUEUED, RunStatus.CRASHED, 0, "large-1x")
    assert decide(error, larger_machine="large-1x", attempt_number=3).after is After.END


@pytest.mark.parametrize(
    ("retry", "machine", "larger"),
    [
        (None, "micro", None),
        ({}, "micro", None),
        ({"outOfMemory": None}, "micro", None),
        ({"outOfMemory": {}}, "micro", None),
        ({"outOfMemory": {"machine": "large-1x"}}, "micro", "large-1x"),
        ({"outOfMemory": {"machine": "medium-1x"}}, "small-2x", "medium-1x"),
        ({"outOfMemory": {"machine": "large-1x"}}, None, "large-1x"),
        ({"outOfMemory": {"machine": "large-1x"}}, "large-1x", None),
        ({"outOfMemory": {"machine": "micro"}}, "large-1x", None),
        ({"outOfMemory": {"machine": "enormous"}}, "micro", None),
    ],
)
def test_only_a_machine_with_more_memory_helps(
    retry: dict[str, Any] | None, machine: str | None, larger: str | None
) -> None:
    """The same, a smaller and an unknown preset are none, so that the same end is not repeated."""
    assert larger_machine(retry, machine) == larger


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


@pytest.mark.parametrize(
    "text",
    ["1e999", "[-1E+400]", "9" * 250 + "e99", "1" + "0" * 400 + ".0", "NaN", "Infinity", "{"],
)
def test_what_other_languages_cannot_read_is_no_json(text: str) -> None:
    """A number beyond a float would be written as Infinity, which ends every other reader."""
    with pytest.raises(ValueError, match=r"."):
        json_value(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e308", 1e308),
        ("1e-999", 0.0),
        ('{"e400": "1e999"}', {"e400": "1e999"}),
        ("9" * 400, int("9" * 400)),
    ],
)
def test_other_numbers_are_read(text: str, value: Any) -> None:
    """Large and small ones, whole ones of any length, and texts that look like one."""
    assert json_value(text) == value
