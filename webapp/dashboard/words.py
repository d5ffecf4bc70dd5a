"""How pages say things: states, moments, durations. Pure; `now` is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from runs.states import ExecutionStatus, RunStatus

Tone = Literal["good", "bad", "warn", "live", "idle"]

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
UNITS: Final = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"))


class Word(NamedTuple):
    """A state as a person reads it. The colour only repeats it."""

    text: str
    tone: Tone

    @property
    def name(self) -> str:
        """The word as it stands in the address of a filtered list."""
        return self.text.lower().replace(" ", "-")


class Moment(NamedTuple):
    """A time: how far away it is, and exactly when."""

    text: str  # e.g. 3 min ago
    exact: str  # UTC with milliseconds
    iso: str


CANCELING: Final = Word("Canceling", "warn")  # asked for; its workload has not stopped yet

_R = RunStatus
STATUS_WORDS: Final[dict[RunStatus, Word]] = {
    _R.PENDING: Word("Queued", "idle"),
    _R.DELAYED: Word("Delayed", "idle"),
    _R.PENDING_VERSION: Word("Waiting for a version", "warn"),
    _R.DEQUEUED: Word("Starting", "live"),
    _R.EXECUTING: Word("Executing", "live"),
    _R.WAITING_TO_RESUME: Word("Waiting", "idle"),
    _R.RETRYING_AFTER_FAILURE: Word("Retrying", "warn"),
    _R.COMPLETED_SUCCESSFULLY: Word("Completed", "good"),
    _R.COMPLETED_WITH_ERRORS: Word("Failed", "bad"),
    _R.CRASHED: Word("Crashed", "bad"),
    _R.SYSTEM_FAILURE: Word("System failure", "bad"),
    _R.TIMED_OUT: Word("Timed out", "bad"),
    _R.EXPIRED: Word("Expired", "warn"),
    _R.CANCELED: Word("Canceled", "idle"),
}
STATUS_BY_NAME: Final[dict[str, RunStatus]] = {
    word.name: status for status, word in STATUS_WORDS.items()
}


def status_word(status: str, execution: str) -> Word:
    """Give the word of a run's state.

    >>> status_word("COMPLETED_SUCCESSFULLY", "FINISHED").text
    'Completed'
    """
    if execution == ExecutionStatus.PENDING_CANCEL:
        return CANCELING
    return STATUS_WORDS[RunStatus(status)]


def duration_text(length: timedelta) -> str:
    """Give a length of time in the two units that matter; a negative one counts as none.

    >>> duration_text(timedelta(seconds=1.84)), duration_text(timedelta(seconds=200))
    ('1.8 s', '3 min 20 s')
    """
    ms = max(0, round(length / timedelta(milliseconds=1)))
    if ms < SECOND_MS:
        return f"{ms} ms"
    if ms < 10 * SECOND_MS:
        return f"{ms // 100 / 10:.1f} s"
    if ms < MINUTE_MS:
        return f"{ms // SECOND_MS} s"
    if ms < HOUR_MS:
        return _two(ms, MINUTE_MS, "min", SECOND_MS, "s")
    if ms < DAY_MS:
        return _two(ms, HOUR_MS, "h", MINUTE_MS, "min")
    return _two(ms, DAY_MS, "d", HOUR_MS, "h")


def _two(ms: int, unit_ms: int, unit: str, part_ms: int, part: str) -> str:
    whole, rest = divmod(ms, unit_ms)
    return f"{whole} {unit} {rest // part_ms} {part}" if rest >= part_ms else f"{whole} {unit}"


def relative_text(at: datetime, now: datetime) -> str:
    """Give how far a moment is from now, in the largest unit that fits.

    >>> relative_text(datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 15, tzinfo=UTC))
    '3 h ago'
    """
    ms = round((now - at) / timedelta(milliseconds=1))
    size = abs(ms)
    if size < SECOND_MS:
        return "now"
    unit_ms, unit = next(pair for pair in UNITS if size >= pair[0])
    return f"{size // unit_ms} {unit} ago" if ms > 0 else f"in {size // unit_ms} {unit}"


def moment(at: datetime, now: datetime) -> Moment:
    """Give a moment as pages show it."""
    exact = at.astimezone(UTC)
    stamp = exact.strftime("%Y-%m-%d %H:%M:%S.") + f"{exact.microsecond // 1000:03d}"
    return Moment(relative_text(at, now), f"{stamp} UTC", exact.isoformat(timespec="milliseconds"))


def clock_text(at: datetime) -> str:
    """Give the time of day of a log line, UTC with milliseconds."""
    exact = at.astimezone(UTC)
    return exact.strftime("%H:%M:%S.") + f"{exact.microsecond // 1000:03d}"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """Give a number with its noun.

    >>> count_text(1, "attempt"), count_text(3, "attempt")
    ('1 attempt', '3 attempts')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"
