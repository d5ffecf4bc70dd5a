"""A ramp inside a ledger write: its next state, the dial it leaves, the rows its schedule owes.

Whoever writes a ramp brings it up to the clock first (`settle`), so that the audit has every step
in its order, and a ramp whose schedule is over is finished before anything else happens to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from flags.models import Ramp
from flags.ramps import RampEvent, RampState, due_steps, length_s, next_state, position_at
from flags.selectors import elapsed_of, steps_of
from flags.stored import GLOBAL, store_global_values
from ledger.changes import FLAGS
from tenants.errors import Conflict

if TYPE_CHECKING:
    from django.db import models

    from ledger.services import LedgerWrite

ACTOR: Final = "system:ramp"
SOURCE: Final = "ramp"


class IllegalRampMove(Conflict):
    """The ramp is in a state in which this cannot be done."""


@dataclass(frozen=True, slots=True)
class RampChange:
    """A ramp that is being changed."""

    write: LedgerWrite
    row: Ramp
    now: datetime  # of the database's clock

    @property
    def elapsed_s(self) -> float:
        """How much of its schedule is over."""
        return elapsed_of(self.row, self.now)

    @property
    def reached(self) -> int:
        """The value that its schedule has reached."""
        return position_at(steps_of(self.row.steps), self.elapsed_s).value

    @property
    def scope(self) -> str:
        """Where the audit keeps the ramp's own rows."""
        return scope_of(self.row)


def scope_of(row: Ramp) -> str:
    """Give the scope of a ramp's own rows in the audit; those of its dial are global."""
    return f"ramp:{row.id}"


def running_ramps() -> models.QuerySet[Ramp]:
    """Give the ramps that move their dials."""
    return Ramp.objects.filter(state=RampState.RUNNING.value).order_by("id")


def move(change: RampChange, event: RampEvent) -> None:
    """Take a ramp to its next state, or raise `IllegalRampMove`; what belongs to it is set next."""
    row = change.row
    state = next_state(RampState(row.state), event)
    if state is None:
        raise IllegalRampMove(f"The ramp is {row.state}, so it cannot {event.value}")
    change.write.record(scope=change.scope, key="state", old=row.state, new=state.value)
    row.state = state.value


def refuse_second(row: Ramp) -> None:
    """Raise when another ramp moves the dial: only one may, and none that rests may touch it."""
    other = running_ramps().filter(flag=row.flag).exclude(id=row.id).first()
    if other is not None:
        raise IllegalRampMove(f"Another ramp moves this dial now: {other.id}")


def pause(change: RampChange, because: str) -> None:
    """Store where a running ramp is, so that its dial stays there."""
    row, elapsed_s = change.row, change.elapsed_s
    leave(row, change.reached)
    row.elapsed_s, row.stopped_because = max(0.0, elapsed_s), because


def leave(row: Ramp, value: int | None) -> None:
    """Store what the dial is from now on, when the ramp does not move it any more."""
    store_global_values({row.flag: value})
    row.value, row.began_at = value or 0, None


def end(row: Ramp, now: datetime) -> None:
    """Note the end of a ramp."""
    row.elapsed_s, row.stopped_because, row.ended_at = None, None, now


def save(change: RampChange) -> None:
    """Store a ramp that was changed, and let every replica read it."""
    change.row.revision = change.write.revision
    change.row.save()
    change.write.touch(FLAGS, GLOBAL)


def is_behind(row: Ramp, now: datetime) -> bool:
    """Tell whether the schedule of a running ramp has come further than its rows."""
    position = position_at(steps_of(row.steps), elapsed_of(row, now))
    return position.is_over or position.step > row.noted_step


def settle(change: RampChange) -> int:
    """Bring the rows of a ramp up to the clock: its steps' audit rows, and its end.

    Give how much there was to do. A step's row has the time at which the step took effect, and the
    revision of the ramp's last write: who has seen that one knew the schedule.
    """
    row = change.row
    if row.began_at is None:
        return 0
    steps = steps_of(row.steps)
    due = due_steps(steps, noted=row.noted_step, elapsed_s=change.elapsed_s)
    for step in due:
        change.write.note(
            scope=GLOBAL,
            key=row.flag,
            change=(step.old, step.new),
            at=row.began_at + timedelta(seconds=step.after_s),
            revision=row.revision,
            signature=_signed(f"step {step.step + 1} of {len(steps)} of {row.id}"),
        )
        row.noted_step = step.step
    if position_at(steps, change.elapsed_s).is_over:
        _run_out(change)
        return len(due) + 1
    if due:
        row.save(update_fields=["noted_step"])
    return len(due)


def _run_out(change: RampChange) -> None:
    """End a ramp whose schedule is over, as of the moment at which it was."""
    row, steps = change.row, steps_of(change.row.steps)
    assert row.began_at is not None
    ended_at = row.began_at + timedelta(seconds=length_s(steps))
    change.write.note(
        scope=change.scope,
        key="state",
        change=(RampState.RUNNING.value, RampState.FINISHED.value),
        at=ended_at,
        revision=change.write.revision,
        signature=_signed("its last step was held for its time"),
    )
    row.state = RampState.FINISHED.value
    leave(row, steps[-1].value)
    end(row, ended_at)
    save(change)


def _signed(reason: str) -> dict[str, str | None]:
    """Give who the audit names for what a schedule did."""
    return {"actor": ACTOR, "source": SOURCE, "reason": reason, "request_id": None}
