"""Laws of the preview: it counts exactly those about whom the rule says something else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flags.enrollment import enroll
from flags.values import FlagSnapshot, flag_snapshot
from rollout.preview import (
    FORMS,
    LISTED,
    NO_REGION,
    Home,
    Member,
    Members,
    decide_preview,
    form_of,
    home_of,
)
from rollout.readiness import Readiness, readiness_in, ready_in_all

ON = "computeMigrationEnabled"
FREE, PAID = "computeMigrationFreePercentage", "computeMigrationPaidPercentage"
HOMES = {None: Home("us", is_effective=True), "wg_eu": Home("eu", is_effective=False)}

READY_IN = st.sampled_from([None, frozenset(), frozenset({"us"}), frozenset({"us", "eu"})])
FORM_NUMBERS = st.integers(0, len(FORMS) - 1)
MEMBERS = st.lists(
    st.tuples(
        FORM_NUMBERS, st.sampled_from([None, "wg_eu", "wg_gone"]), st.integers(0, 9), READY_IN
    ),
    max_size=60,
).map(lambda rows: [Member(f"org_{number}", *row) for number, row in enumerate(rows)])
FLAGS = st.none() | st.builds(
    lambda on, free, paid: flag_snapshot({ON: on, FREE: free, PAID: paid}, revision=1),
    st.booleans(),
    st.integers(0, 100),
    st.integers(0, 100),
)


def columns(members: list[Member]) -> Members:
    """Give organizations as they are kept."""
    rows: tuple[Any, ...] = tuple(zip(*members, strict=True)) or ((), (), (), (), ())
    return Members(*rows)


def is_in(member: Member, flags: FlagSnapshot | None) -> bool:
    """Ask the rule itself about one organization."""
    return enroll(FORMS[member.form], flags).is_enrolled


@given(MEMBERS, FLAGS, FLAGS)
def test_a_preview_is_the_rule_asked_about_each(
    members: list[Member], now: FlagSnapshot | None, then: FlagSnapshot | None
) -> None:
    """In and out are exactly those whose answer differs: their runs, plans, regions, templates."""
    found = decide_preview(columns(members), HOMES, now=now, then=then)
    joining = [one for one in members if not is_in(one, now) and is_in(one, then)]
    leaving = [one for one in members if is_in(one, now) and not is_in(one, then)]
    for side, expected in ((found.joining, joining), (found.leaving, leaving)):
        assert set(side.largest) == set(expected)
        assert (side.count, side.is_truncated) == (len(expected), False)
        assert side.runs == sum(one.runs for one in expected)
        plans = [FORMS[one.form].plan or "unknown" for one in expected]
        assert side.by_plan == {plan: plans.count(plan) for plan in plans}
        regions = [home_of(one.group_id, HOMES).region for one in expected]
        assert side.by_region == {region: regions.count(region) for region in regions}
        states = [
            readiness_in(one.ready_in, region)
            for one, region in zip(expected, regions, strict=True)
        ]
        assert side.templates == tuple(states.count(state) for state in Readiness)
        assert side.templates.total == side.count
    assert found.is_superset == (bool(joining) and not leaving)
    assert found.is_subset == (bool(leaving) and not joining)


@given(MEMBERS, FLAGS)
def test_no_change_moves_nobody(members: list[Member], flags: FlagSnapshot | None) -> None:
    """A preview of what holds is empty, and neither a superset nor a subset."""
    found = decide_preview(columns(members), HOMES, now=flags, then=flags)
    assert (found.joining.count, found.leaving.count) == (0, 0)
    assert (found.is_superset, found.is_subset) == (False, False)


@given(MEMBERS, FLAGS, FLAGS)
def test_there_and_back_are_mirrors(
    members: list[Member], now: FlagSnapshot | None, then: FlagSnapshot | None
) -> None:
    """Who moves in by a change moves out by its revert."""
    there = decide_preview(columns(members), HOMES, now=now, then=then)
    back = decide_preview(columns(members), HOMES, now=then, then=now)
    assert (there.joining, there.leaving) == (back.leaving, back.joining)


def test_the_largest_are_listed_and_all_are_counted() -> None:
    """Beyond a thousand the list says that it is cut, and the sums do not."""
    runs = [number * 7919 % 1000 for number in range(LISTED + 50)]
    form = form_of("free", None, 0)
    members = [Member(f"org_{number}", form, None, count) for number, count in enumerate(runs)]
    then = flag_snapshot({ON: True, FREE: 1}, revision=1)
    side = decide_preview(columns(members), HOMES, now=None, then=then).joining
    assert (side.count, side.runs, side.is_truncated) == (len(runs), sum(runs), True)
    assert [one.runs for one in side.largest] == sorted(runs, reverse=True)[:LISTED]
    assert side.by_region == {"us": len(runs)}


@given(FORM_NUMBERS)
def test_a_form_is_found_again(number: int) -> None:
    """Numbers and forms are the same thing, and an override that is no boolean is none."""
    form = FORMS[number]
    assert form_of(form.plan, form.overrides.get(ON), form.bucket) == number
    assert FORMS[form_of(form.plan, 1, form.bucket)].overrides == {}
    assert home_of("wg_unknown", HOMES).region == NO_REGION


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from([None, "wg_eu"]),
            st.lists(st.sampled_from(["us", "eu", "ap"]), unique=True),
        )
    )
)
def test_an_organization_is_ready_where_each_of_its_versions_is(
    versions: list[tuple[str, str | None, list[str]]],
) -> None:
    """One version that is missing in a region is enough; versions of other defaults do not count."""
    found = ready_in_all(versions)
    assert found.keys() == {(org, group) for org, group, _ in versions}
    for key, ready in found.items():
        own = [set(regions) for org, group, regions in versions if (org, group) == key]
        assert ready == set.intersection(*own)
        assert (readiness_in(ready, "us") is Readiness.READY) == all("us" in one for one in own)
