"""When a process that died is started again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SHORT_LIFE_S = 10.0  # a process that lived longer had started well
PATIENT_DEATHS = 3  # so many short lives in a row are answered at once
AT_ONCE_S = 0.1
LONGEST_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Restart:
    """What to do about one death."""

    delay_s: float
    short_lives: int  # in a row, this one included; goes into the next decision
    is_backing_off: bool  # the delay is longer than usual, and the person should know


def decide_restart(*, lived_s: float, short_lives: int) -> Restart:
    """Give the pause before a dead process is started again.

    Rule: a death after a good start is answered at once, and so are the first `PATIENT_DEATHS`
    short lives in a row; each further one doubles the pause, from 1 s to `LONGEST_DELAY_S`.

    >>> decide_restart(lived_s=0.2, short_lives=4)
    Restart(delay_s=2.0, short_lives=5, is_backing_off=True)
    """
    if lived_s >= SHORT_LIFE_S:
        return Restart(delay_s=AT_ONCE_S, short_lives=0, is_backing_off=False)
    lives = short_lives + 1
    if lives <= PATIENT_DEATHS:
        return Restart(delay_s=AT_ONCE_S, short_lives=lives, is_backing_off=False)
    doublings = min(lives - PATIENT_DEATHS - 1, 10)
    return Restart(
        delay_s=min(2.0**doublings, LONGEST_DELAY_S), short_lives=lives, is_backing_off=True
    )
