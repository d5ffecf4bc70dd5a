"""Reads of flags from the database, for writers; the hot path reads `flags.snapshot`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import connection

from flags.catalog import CATALOG, Scope, valid_values
from flags.models import OrganizationFlag, Ramp
from flags.ramps import LIVE, MovingDial, RampState, Step, length_s, moments_for, position_at
from ledger.clock import database_now
from tenants.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping


SHOWN_ENDED: Final = 200  # ramps that are drafts or over; the live ones are all shown

# One statement, so that all of it belongs to one moment; every replica runs it after every flip.
_GLOBAL_SQL = """
SELECT
  (SELECT coalesce(max(value), 0) FROM ledger_revision),
  (SELECT jsonb_object_agg(key, value) FROM flags_featureflag),
  (SELECT jsonb_agg(jsonb_build_array(
     flag, steps, extract(epoch FROM clock_timestamp() - began_at)))
   FROM flags_ramp WHERE state = 'running')
"""


class GlobalFlags(NamedTuple):
    """What holds for everyone, all of one moment."""

    stored: Mapping[str, Any]  # the values that are set and valid
    moving: tuple[MovingDial, ...]  # the dials that ramps move, which win
    revision: int

    @property
    def in_effect(self) -> Mapping[str, Any]:
        """The values of that moment: those that are set, dials as their ramps have moved them."""
        return {**self.stored, **moments_for(self.moving)[0].dials}


@dataclass(frozen=True, slots=True, kw_only=True)
class RampView:
    """A ramp as others see it, at one moment."""

    id: str
    flag: str
    state: RampState
    steps: tuple[Step, ...]
    start_value: int | None  # of the dial before; in a draft its value now; None: not set
    value: int  # running: now; paused or over: where it left the dial; in a draft the dial's now
    step: int  # the step it stands at, 0 for the first
    next_at: datetime | None  # running: when the next step takes effect; None: there is none
    ends_at: datetime | None  # running: when the last step was held for its time
    elapsed_s: float  # how much of the schedule is over
    stopped_because: str | None  # paused: why, for people
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    dial: int | None  # what its dial is in effect at this moment; None: not set

    @property
    def next_value(self) -> int | None:
        """What the dial becomes with the next step; None: the ramp stands at its last one."""
        following = self.step if self.state is RampState.DRAFT else self.step + 1
        return self.steps[following].value if following < len(self.steps) else None


def read_global_flags() -> GlobalFlags:
    """Read what holds for everyone, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(_GLOBAL_SQL)
        revision, stored, ramps = cursor.fetchone()
    return GlobalFlags(
        stored=valid_values(json.loads(stored or "{}"), scope=Scope.GLOBAL),
        moving=tuple(
            MovingDial(flag, steps_of(steps), float(elapsed_s))
            for flag, steps, elapsed_s in json.loads(ramps or "[]")
        ),
        revision=revision,
    )


def get_global_values_and_revision() -> tuple[Mapping[str, Any], int]:
    """Give the values in effect for everyone and the revision they hold at, in one query."""
    read = read_global_flags()
    return read.in_effect, read.revision


def get_global_values() -> Mapping[str, Any]:
    """Give the values in effect for everyone: set and valid, or where a ramp has moved them."""
    return read_global_flags().in_effect


def get_organization_values(organization_id: str) -> Mapping[str, Any]:
    """Give an organization's overrides, those that are set and valid."""
    rows = OrganizationFlag.objects.filter(organization_id=organization_id)
    return valid_values(dict(rows.values_list("key", "value")), scope=Scope.ORGANIZATION)


def list_organizations_with(key: str, value: object) -> list[str]:
    """Give the organizations whose own value of flag `key` is exactly this."""
    rows = OrganizationFlag.objects.filter(key=key, value=value).order_by("organization_id")
    return list(rows.values_list("organization_id", flat=True))


def get_global_value(key: str) -> Any:
    """Give the value of one flag for everyone, its default when it is not set."""
    return get_global_values().get(key, CATALOG[key].default)


def list_ramps() -> list[RampView]:
    """Give the ramps, newest first: all that are running or paused, the newest of the others."""
    live = [state.value for state in LIVE]
    others = Ramp.objects.exclude(state__in=live).order_by("-id")[:SHOWN_ENDED]
    rows = [*Ramp.objects.filter(state__in=live), *others]
    values, now = get_global_values(), database_now()
    return [_view(row, values, now) for row in sorted(rows, key=lambda row: row.id, reverse=True)]


def get_ramp(ramp_id: str) -> RampView:
    """Give one ramp, or raise `NotFound`."""
    row = Ramp.objects.filter(id=ramp_id).first()
    if row is None:
        raise NotFound("Ramp not found")
    return _view(row, get_global_values(), database_now())


def list_moving_ramps() -> dict[str, RampView]:
    """Give the ramps that are running, by the flag they move."""
    rows = list(Ramp.objects.filter(state=RampState.RUNNING.value))
    if not rows:
        return {}
    values, now = get_global_values(), database_now()
    return {row.flag: _view(row, values, now) for row in rows}


def steps_of(stored: list[list[int]]) -> tuple[Step, ...]:
    """Give a schedule as it is stored."""
    return tuple(Step(value, hold_s) for value, hold_s in stored)


def elapsed_of(row: Ramp, now: datetime) -> float:
    """Give how much of a ramp's schedule is over, in seconds."""
    if row.began_at is not None:
        return (now - row.began_at).total_seconds()
    return row.elapsed_s or 0.0


def _view(row: Ramp, values: Mapping[str, Any], now: datetime) -> RampView:
    steps, elapsed_s = steps_of(row.steps), elapsed_of(row, now)
    position, dial = position_at(steps, elapsed_s), values.get(row.flag)
    is_draft, runs = row.state == RampState.DRAFT, row.began_at is not None
    return RampView(
        id=row.id,
        flag=row.flag,
        state=RampState(row.state),
        steps=steps,
        start_value=dial if is_draft else row.start_value,
        value=position.value if runs else (row.value if row.value is not None else dial or 0),
        step=position.step if runs else row.noted_step,
        next_at=_moment(row, None if position.step == len(steps) - 1 else position.until_s),
        ends_at=_moment(row, length_s(steps)),
        elapsed_s=elapsed_s,
        stopped_because=row.stopped_because,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        dial=dial,
    )


def _moment(row: Ramp, after_s: float | None) -> datetime | None:
    if row.began_at is None or after_s is None:
        return None
    return row.began_at + timedelta(seconds=after_s)
