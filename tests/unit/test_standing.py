"""How many organizations the dials enroll: the sums say what the rule says of each."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from flags.enrollment import bucket_of, enroll
from rollout.preview import form_of
from rollout.readiness import Readiness
from rollout.standing import count_forms, standing_of


class Org(NamedTuple):
    """An organization as the rule reads it."""

    plan: str | None
    bucket: int
    overrides: dict[str, object]


class Flags(NamedTuple):
    """Dials as the rule reads them."""

    dials: dict[str | None, int] | None


def people(count: int) -> tuple[list[tuple[str, str | None]], dict[str, object]]:
    """Give organizations of all plans, some with a switch, some with one that means nothing."""
    chance = random.Random(7)
    plans = [
        (f"org_{n}", chance.choice(["free", "paid", "enterprise", None])) for n in range(count)
    ]
    switches: dict[str, object] = {
        organization_id: chance.choice([True, False, "true", 1, None])
        for organization_id, _plan in plans
        if chance.random() < 0.3
    }
    return plans, switches


@pytest.mark.parametrize("percentages", [{}, {"free": 0, "paid": 100}, {"free": 37, "paid": 1}])
@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_sums_are_those_of_the_rule(percentages: dict[str, int], is_enabled: bool) -> None:
    """Counting by bucket gives what asking the rule about every organization gives."""
    (plans, switches), chance = people(2000), random.Random(8)
    states = {organization_id: chance.choice(list(Readiness)) for organization_id, _ in plans}
    counts = (
        (
            form_of(plan, switches.get(organization_id), bucket_of(organization_id)),
            states[organization_id],
            1,
        )
        for organization_id, plan in plans
    )
    counted = count_forms(counts, head=(3, ""))
    standing = standing_of(counted, is_enabled=is_enabled, percentages=percentages)
    dials: dict[str | None, int] = {plan: percentages.get(plan, 0) for plan in ("free", "paid")}
    asked = [
        enroll(
            Org(
                plan,
                bucket_of(organization_id),
                {"computeMigrationEnabled": switches[organization_id]}
                if organization_id in switches
                else {},
            ),
            Flags(dials if is_enabled else None),
        )
        for organization_id, plan in plans
    ]
    assert standing.enrolled == sum(one.is_enrolled for one in asked)
    assert standing.forced_in == sum(one.value == "override_on" for one in asked)
    assert standing.forced_out == sum(one.value == "override_off" for one in asked)
    assert standing.by_percentage == sum(one.value == "in_percentage" for one in asked)
    assert standing.total == 2000
    assert all(0 <= dial.enrolled <= dial.organizations for dial in standing.dials)
    for dial in standing.dials:
        assert dial.inside.total == (dial.enrolled if is_enabled else 0)
        assert dial.inside.total + dial.outside.total == dial.organizations
        mine = [
            states[organization_id]
            for organization_id, plan in plans
            if plan == dial.plan and not isinstance(switches.get(organization_id), bool)
        ]
        both = zip(dial.inside, dial.outside, strict=True)
        assert [first + second for first, second in both] == [mine.count(one) for one in Readiness]


def test_nobody_is_counted_where_nobody_is() -> None:
    """An installation without organizations stands at nothing."""
    standing = standing_of(
        count_forms([], head=(0, "")), is_enabled=True, percentages={"free": 100}
    )
    assert (standing.enrolled, standing.total) == (0, 0)
