"""Writes of ramps: from draft to end, by people, by other writes, and by their own schedule.

All of them go through the ledger, whose lock lets one write at a time see and change a ramp. Steps
need no write to take effect; the audit gets their rows whenever somebody writes next, a person or
the reconciler, each once, with the step's own time and the revision of the ramp's last write.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack

from flags.catalog import CATALOG, MIGRATION_ENABLED, FlagType
from flags.models import Ramp
from flags.ramp_change import (
    ACTOR,
    SOURCE,
    RampChange,
    end,
    is_behind,
    leave,
    move,
    pause,
    refuse_second,
    running_ramps,
    save,
    scope_of,
    settle,
)
from flags.ramps import RampEvent, RampState, Step, problems_of_steps
from flags.stored import GLOBAL, find_stored_value
from ledger.clock import database_now
from ledger.ids import new_id
from ledger.services import LedgerWrite, ledger_write
from tenants.errors import Invalid, NotFound, Problem
from tenants.freshness import check_fresh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tenants.origin import Origin

BY_HAND: Final = "paused by hand"
DIAL_WRITTEN: Final = "somebody wrote the dial"
SWITCHED_OFF: Final = "the migration was switched off for everyone"


def create_ramp(*, flag: str, steps: Sequence[Step], **origin: Unpack[Origin]) -> str:
    """Write a draft down, which changes nothing; give its id.

    Raise `Invalid` for a flag that is no dial, and for steps that are no schedule.
    """
    spec = CATALOG.get(flag)
    if spec is None or spec.type is not FlagType.PERCENT:
        problem = Problem("flag", "must be a dial: a flag that holds a percentage")
        raise Invalid(f"{problem.key}: {problem.message}", (problem,))
    if problems := problems_of_steps(steps):
        raise Invalid(f"{problems[0].key}: {problems[0].message}", problems)
    with ledger_write(**origin) as write:
        row = Ramp(
            id=new_id("ramp"),
            flag=flag,
            state=RampState.DRAFT.value,
            steps=[list(step) for step in steps],
            revision=write.revision,
            created_at=database_now(),
        )
        row.save(force_insert=True)
        shown = [{"value": step.value, "holdSeconds": step.hold_s} for step in steps]
        write.record(
            scope=scope_of(row), key="created", old=None, new={"flag": flag, "steps": shown}
        )
    return row.id


def start_ramp(
    ramp_id: str,
    *,
    now: datetime | None = None,
    expected_revision: int | None = None,
    **origin: Unpack[Origin],
) -> None:
    """Let a draft move its dial from now on, its first step at once.

    Raise `NotFound`, `IllegalRampMove` unless it is a draft and no other ramp moves the dial, and
    `StaleRevision` when the dial was changed after `expected_revision`.
    """
    _change(
        ramp_id,
        RampEvent.START,
        _begin,
        now=now,
        expected_revision=expected_revision,
        origin=origin,
    )


def resume_ramp(
    ramp_id: str,
    *,
    now: datetime | None = None,
    expected_revision: int | None = None,
    **origin: Unpack[Origin],
) -> None:
    """Let a paused ramp go on where its schedule was; the dial returns to that step's value.

    Raises as `start_ramp`.
    """
    _change(
        ramp_id,
        RampEvent.RESUME,
        _begin,
        now=now,
        expected_revision=expected_revision,
        origin=origin,
    )


def pause_ramp(
    ramp_id: str,
    *,
    because: str = BY_HAND,
    now: datetime | None = None,
    **origin: Unpack[Origin],
) -> None:
    """Stop a running ramp where it is, and store the value that it has reached.

    `because` is shown to people. Raise `NotFound`, and `IllegalRampMove` when it does not run.
    """
    _change(ramp_id, RampEvent.PAUSE, lambda change: pause(change, because), now=now, origin=origin)


def abort_ramp(ramp_id: str, *, now: datetime | None = None, **origin: Unpack[Origin]) -> None:
    """End a ramp, and set the dial back to what it was before; a draft is dropped.

    Raise `NotFound`, and `IllegalRampMove` when it is over or another ramp moves the dial.
    """
    _change(ramp_id, RampEvent.ABORT, _abort, now=now, origin=origin)


def finish_ramp(ramp_id: str, *, now: datetime | None = None, **origin: Unpack[Origin]) -> None:
    """End a ramp before its schedule does; the dial keeps the value that it has.

    Raise `NotFound`, and `IllegalRampMove` when it is a draft or over.
    """
    _change(ramp_id, RampEvent.FINISH, _finish, now=now, origin=origin)


def pause_ramps_for(write: LedgerWrite, values: Mapping[str, Any]) -> None:
    """Pause what a write of these values for everyone speaks about, as part of that write.

    **Rule** a value for a dial pauses the ramp that moves it, also one that is the dial's already;
    anything but true for `computeMigrationEnabled` pauses every ramp, so that to switch the
    migration on again brings back what was, and nothing that went on unseen.
    """
    is_off = MIGRATION_ENABLED in values and values[MIGRATION_ENABLED] is not True
    dials = [key for key in values if CATALOG[key].type is FlagType.PERCENT]
    if not is_off and not dials:
        return
    now = database_now()
    for row in running_ramps() if is_off else running_ramps().filter(flag__in=dials):
        change = RampChange(write, row, now)
        settle(change)
        if row.state == RampState.RUNNING:
            move(change, RampEvent.PAUSE)
            pause(change, SWITCHED_OFF if is_off else DIAL_WRITTEN)
            save(change)


def record_steps(*, now: datetime | None = None) -> int:
    """Leave the audit rows of steps that have taken effect, and end the ramps that ran out.

    Give how many of both there were. Doing it twice, or twice at once, does nothing more.
    """
    found_at = now or database_now()
    if not any(is_behind(row, found_at) for row in running_ramps()):
        return 0
    with ledger_write(actor=ACTOR, source=SOURCE) as write:
        return sum(settle(RampChange(write, row, found_at)) for row in running_ramps())


def _change(
    ramp_id: str,
    event: RampEvent,
    act: Callable[[RampChange], None],
    *,
    now: datetime | None,
    expected_revision: int | None = None,
    origin: Origin,
) -> None:
    with ledger_write(**origin) as write:
        row = Ramp.objects.filter(id=ramp_id).first()
        if row is None:
            raise NotFound("Ramp not found")
        check_fresh(scope=GLOBAL, org=None, keys=[row.flag], expected_revision=expected_revision)
        change = RampChange(write, row, now or database_now())
        settle(change)
        move(change, event)
        act(change)
        save(change)


def _begin(change: RampChange) -> None:
    row = change.row
    refuse_second(row)
    stored = find_stored_value(row.flag)
    if row.started_at is None:
        row.start_value, row.started_at = stored, change.now
    row.began_at = change.now - timedelta(seconds=row.elapsed_s or 0.0)
    row.elapsed_s = row.value = row.stopped_because = None
    change.write.record(scope=GLOBAL, key=row.flag, old=stored, new=change.reached)


def _abort(change: RampChange) -> None:
    row = change.row
    if row.started_at is None:
        row.value = find_stored_value(row.flag) or 0
    else:
        refuse_second(row)
        was = find_stored_value(row.flag) if row.began_at is None else change.reached
        leave(row, row.start_value)
        change.write.record(scope=GLOBAL, key=row.flag, old=was, new=row.start_value)
    end(row, change.now)


def _finish(change: RampChange) -> None:
    if change.row.began_at is not None:
        leave(change.row, change.reached)
    end(change.row, change.now)
