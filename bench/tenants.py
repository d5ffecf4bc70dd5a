"""The organizations whose placement is measured, and whether a list of decisions is the rule's."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ledger.ids import ALPHABET, BODY_CHARS

PERCENTS: Final[Mapping[str, int]] = {"free": 40, "paid": 60}
"""How many of each plan are in: in the middle, where a wrong share is easiest to see."""
PLANS: Final[Mapping[str | None, int]] = {"free": 60, "paid": 30, "enterprise": 7, None: 3}
OVERRIDES: Final[Mapping[bool | None, int]] = {None: 95, True: 3, False: 2}
"""Of a hundred organizations, how many have each."""
TOLERANCE_PERCENT: Final = 5
SEED: Final = 20261122


class Tenant(NamedTuple):
    """What a decision is about."""

    id: str
    plan: str | None  # None: unknown
    override: bool | None  # None: it has none


def made_tenants(count: int) -> list[Tenant]:
    """Give so many organizations, the same ones each time, with ids of the real form."""
    chance = random.Random(SEED)
    ids = ["org_" + "".join(chance.choices(ALPHABET, k=BODY_CHARS)) for _ in range(count)]
    plans = chance.choices(list(PLANS), list(PLANS.values()), k=count)
    overrides = chance.choices(list(OVERRIDES), list(OVERRIDES.values()), k=count)
    return [Tenant(*one) for one in zip(ids, plans, overrides, strict=True)]


def find_fault(tenants: Sequence[Tenant], decisions: Sequence[bool]) -> str | None:
    """Say what shows that these are no decisions by the rule; None when they may be.

    **Rule** an override holds both ways; without one, of each plan with a percentage about that
    share is in, and of the others nobody.
    """
    asked = list(zip(tenants, decisions, strict=True))
    if any(t.override is not None and t.override is not is_in for t, is_in in asked):
        return "an override does not hold"
    for plan in PLANS:
        is_in = [d for t, d in asked if t.plan == plan and t.override is None]
        if not is_in:
            continue
        share_percent = 100 * sum(is_in) / len(is_in)
        wanted = PERCENTS.get(plan or "", 0)
        tolerated = TOLERANCE_PERCENT if plan in PERCENTS else 0
        if abs(share_percent - wanted) > tolerated:
            return f"of plan {plan} {share_percent:.0f} % are in instead of {wanted} %"
    return None
