"""When a failed attempt is tried again. Pure: the clock and the dice are arguments."""

from __future__ import annotations

from dataclasses import dataclass

from crossfade.errors import TaskDefinitionError
from crossfade.machines import MACHINES, Machine

MAX_ATTEMPTS = 250


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failing task is tried, and how long it waits in between.

    **Args** `max_attempts` 1-250, the first included; `factor` at least 1; `min_timeout_ms` and
    `max_timeout_ms` bound the wait; `randomize` spreads each wait over [1, 2) times its length, so
    that what failed together does not come back together. `out_of_memory_machine` is the preset on
    which an attempt that ran out of memory is tried again; without one, or on that machine and on
    larger ones, running out of memory ends the run.
    **Raises** TaskDefinitionError naming the field.
    """

    max_attempts: int = 3
    factor: float = 2.0
    min_timeout_ms: int = 1_000
    max_timeout_ms: int = 60_000
    randomize: bool = True
    out_of_memory_machine: Machine | None = None

    def __post_init__(self) -> None:
        _check_whole("retry.max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        _check_whole("retry.min_timeout_ms", self.min_timeout_ms, 0, 86_400_000)
        _check_whole("retry.max_timeout_ms", self.max_timeout_ms, 0, 86_400_000)
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float):
            raise TaskDefinitionError(f"retry.factor is {self.factor!r}; it is a number")
        if not 1 <= self.factor <= 100:  # noqa: PLR2004 - also refuses NaN
            raise TaskDefinitionError(f"retry.factor is {self.factor!r}; it is between 1 and 100")
        if self.max_timeout_ms < self.min_timeout_ms:
            raise TaskDefinitionError(
                f"retry.max_timeout_ms is {self.max_timeout_ms}; "
                f"it is at least min_timeout_ms, {self.min_timeout_ms}"
            )
        if not isinstance(self.randomize, bool):
            raise TaskDefinitionError(f"retry.randomize is {self.randomize!r}; it is True or False")
        larger = self.out_of_memory_machine
        if larger is not None and larger not in MACHINES:
            raise TaskDefinitionError(
                f"retry.out_of_memory_machine is {larger!r}; it is one of {', '.join(MACHINES)}"
            )


def retry_delay_ms(retry: Retry, attempt: int, *, jitter: float) -> int:
    """Give the wait before the attempt after `attempt`.

    **Rule** min x factor^(attempt - 1), spread by the jitter, never above the cap.
    **Args** `attempt` the failed attempt's number, from 1; `jitter` in [0, 1).

    >>> retry_delay_ms(Retry(randomize=False), 3, jitter=0.9)
    4000
    """
    spread = 1 + jitter if retry.randomize else 1.0
    # The exponent is bounded so that a late attempt cannot overflow a float: 2 ** 1024 would.
    grown: float = retry.min_timeout_ms * retry.factor ** min(attempt - 1, 100)
    return int(min(grown * spread, retry.max_timeout_ms))


def _check_whole(field: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise TaskDefinitionError(
            f"{field} is {value!r}; it is a whole number from {least} to {most}"
        )


# What a task without `retry` has, written out: a change of Retry's own defaults is no change here.
DEFAULT_RETRY = Retry(
    max_attempts=3, factor=2.0, min_timeout_ms=1_000, max_timeout_ms=60_000, randomize=True
)
