"""Ramps whose schedules began some time ago, so that no test has to wait for a step."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flags.ramping import create_ramp, start_ramp
from flags.ramps import Step
from flags.selectors import get_ramp
from ledger.clock import database_now
from tests.factories import ORIGIN

if TYPE_CHECKING:
    from flags.selectors import RampView

ON = "computeMigrationEnabled"
FREE = "computeMigrationFreePercentage"
PAID = "computeMigrationPaidPercentage"
HOUR_S = 3600
STEPS = (Step(1, HOUR_S), Step(5, HOUR_S), Step(25, HOUR_S), Step(100, HOUR_S))


def draft(*steps: Step, flag: str = FREE) -> str:
    """Write a draft of a ramp and give its id."""
    return create_ramp(flag=flag, steps=steps or STEPS, **ORIGIN)


def started(*steps: Step, flag: str = FREE, ago_s: float = 0.0) -> RampView:
    """Start a ramp that many seconds ago, and give it as it stands now."""
    ramp_id = draft(*steps, flag=flag)
    start_ramp(ramp_id, now=database_now() - timedelta(seconds=ago_s), **ORIGIN)
    return get_ramp(ramp_id)
