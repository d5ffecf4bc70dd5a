"""Laws of the migration: what no combination of flags, plans, buckets and groups may break."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from deployments.regions import GroupRow, RegionSnapshot, Resolved, region_snapshot
from flags.enrollment import Enrollment, bucket_of, enroll
from flags.values import FlagSnapshot, flag_snapshot
from runs.placement import (
    COLD_REGIONS,
    PlacementInput,
    PlacementRegions,
    Why,
    decide_placement,
    routes_of,
)

ON = "computeMigrationEnabled"
DIAL_OF = {"free": "computeMigrationFreePercentage", "paid": "computeMigrationPaidPercentage"}


class Organization(NamedTuple):
    """An organization as the decision reads it."""

    plan: str | None
    bucket: int
    overrides: Mapping[str, Any]


PERCENTS = st.integers(0, 100)
BUCKETS = st.integers(0, 99)
PLANS = st.sampled_from(["free", "paid", "enterprise", None, "other"])
DIALLED_PLANS = st.sampled_from(["free", "paid"])
OVERRIDES = st.sampled_from([{}, {ON: True}, {ON: False}])
ORGANIZATIONS = st.builds(Organization, PLANS, BUCKETS, OVERRIDES)
FLAGS = st.none() | st.builds(
    lambda on, free, paid: flag_snapshot(
        {**({} if on is None else {ON: on}), DIAL_OF["free"]: free, DIAL_OF["paid"]: paid},
        revision=1,
    ),
    st.none() | st.booleans(),
    PERCENTS,
    PERCENTS,
)


@st.composite
def snapshots(draw: st.DrawFn) -> RegionSnapshot:
    """Give groups of every kind, with names that are their queues."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))
    return region_snapshot(
        [
            GroupRow(
                id=f"wg_{name}",
                type=draw(st.sampled_from(["MANAGED", "MANAGED", "UNMANAGED"])),
                name=name,
                master_queue=name,
                region=draw(st.sampled_from([None, "us", "eu"])),
                workload_type=draw(st.sampled_from(["CONTAINER", "MICROVM"])),
                hidden=draw(st.booleans()),
                priority=draw(st.integers(0, 2)),
                project_id=None,
            )
            for name in names
        ],
        revision=1,
    )


@st.composite
def inputs(draw: st.DrawFn) -> PlacementInput:
    """Give any input of a decision, also with regions that are cold or behind."""
    snapshot = draw(snapshots())
    live = draw(st.sets(st.sampled_from([row.id for row in snapshot.rows])))
    warm = PlacementRegions(routes_of(snapshot), dict.fromkeys(live, 10.0), 1)
    row = draw(st.sampled_from(snapshot.rows))
    stranger = row._replace(master_queue="stranger")
    base = draw(
        st.sampled_from(
            [
                Resolved(row.master_queue, row, is_pinned=False),
                Resolved(row.master_queue, row, is_pinned=row.workload_type == "MICROVM"),
                Resolved("stranger", stranger, is_pinned=False),
                Resolved("env_1", None, is_pinned=False),
            ]
        )
    )
    return PlacementInput(
        draw(ORGANIZATIONS),
        base,
        draw(FLAGS),
        draw(st.sampled_from([warm, warm, COLD_REGIONS])),
        draw(st.sampled_from([0.0, 9.9, 10.0, 99.0])),
    )


@given(inputs())
def test_a_placement_always_answers(given_: PlacementInput) -> None:
    """Whatever comes in, there is a queue, and both reasons are of the closed lists."""
    placed = decide_placement(given_)
    assert placed.worker_queue
    assert isinstance(placed.why, Why)
    assert placed.enrollment is enroll(given_.organization, given_.flags)


@given(inputs())
def test_only_enrolled_runs_move_and_only_between_siblings(given_: PlacementInput) -> None:
    """A run leaves its base's queue only for a live backing of its geography, and only enrolled."""
    placed = decide_placement(given_)
    assert (placed.worker_queue != given_.base.queue) == (placed.why is Why.MIGRATED)
    if placed.why is Why.MIGRATED:
        assert placed.enrollment in {Enrollment.OVERRIDE_ON, Enrollment.IN_PERCENTAGE}
        assert given_.base.group is not None
        assert placed.region == given_.base.group.region
        assert (given_.base.group.type, given_.base.group.workload_type) == ("MANAGED", "CONTAINER")
        assert not given_.base.is_pinned
        assert f"wg_{placed.worker_queue}" in given_.regions.deadlines_s
        assert given_.now_s < given_.regions.deadlines_s[f"wg_{placed.worker_queue}"]


@given(inputs(), st.frozensets(st.sampled_from(["us", "eu", "a", "b"])))
def test_readiness_only_keeps_runs_and_never_moves_one(
    given_: PlacementInput, ready: frozenset[str]
) -> None:
    """Requiring templates holds a swap back or changes nothing; geography stays the same."""
    free = decide_placement(given_)
    gated = decide_placement(given_._replace(ready=ready))
    assert (gated.region, gated.enrollment) == (free.region, free.enrollment)
    if free.why is Why.MIGRATED and free.region not in ready:
        assert (gated.worker_queue, gated.why) == (given_.base.queue, Why.TEMPLATE_NOT_READY)
    else:
        assert gated == free


@given(inputs())
def test_cold_regions_migrate_nobody(given_: PlacementInput) -> None:
    """Before the first load of the regions every run stays with its base."""
    placed = decide_placement(given_._replace(regions=COLD_REGIONS))
    assert placed.worker_queue == given_.base.queue
    assert placed.why is not Why.MIGRATED


@given(inputs())
def test_cold_flags_migrate_nobody_without_override(given_: PlacementInput) -> None:
    """Before the first load of the flags only an override moves a run."""
    organization = given_.organization._replace(overrides={})  # type: ignore[attr-defined]
    placed = decide_placement(given_._replace(flags=None, organization=organization))
    assert placed.enrollment is Enrollment.COLD
    assert placed.worker_queue == given_.base.queue


@given(inputs())
def test_without_flags_nothing_moves(given_: PlacementInput) -> None:
    """With nothing set, every run is where it would be if there were no migration."""
    organization = given_.organization._replace(overrides={})  # type: ignore[attr-defined]
    unset = given_._replace(flags=flag_snapshot({}, revision=1), organization=organization)
    assert decide_placement(unset).worker_queue == given_.base.queue


@given(inputs())
def test_false_keeps_and_geography_never_depends_on_enrollment(given_: PlacementInput) -> None:
    """An override of false keeps a run; the region customers see is the same either way."""
    organization = given_.organization
    off, on = (
        decide_placement(
            given_._replace(organization=organization._replace(overrides={ON: value}))  # type: ignore[attr-defined]
        )
        for value in (False, True)
    )
    assert off.worker_queue == given_.base.queue
    assert off.region == on.region


def is_in(plan: str, bucket: int, dial: int) -> bool:
    """Tell whether an organization without override is in at this dial."""
    flags: FlagSnapshot = flag_snapshot({ON: True, DIAL_OF[plan]: dial}, revision=1)
    return enroll(Organization(plan, bucket, {}), flags).is_enrolled


@given(DIALLED_PLANS, BUCKETS)
def test_zero_is_nobody_and_a_hundred_everybody(plan: str, bucket: int) -> None:
    """The ends of the dial are exact."""
    assert not is_in(plan, bucket, 0)
    assert is_in(plan, bucket, 100)


@given(DIALLED_PLANS, PERCENTS)
def test_dials_are_half_open(plan: str, dial: int) -> None:
    """At a dial of N exactly the buckets below N are in."""
    assert [bucket for bucket in range(100) if is_in(plan, bucket, dial)] == list(range(dial))


@given(DIALLED_PLANS, PERCENTS, PERCENTS)
def test_lowering_keeps_a_strict_subset(plan: str, one: int, other: int) -> None:
    """Who is in at the lower dial is in at the higher one, and somebody more."""
    low, high = sorted((one, other))
    at_low = {bucket for bucket in range(100) if is_in(plan, bucket, low)}
    at_high = {bucket for bucket in range(100) if is_in(plan, bucket, high)}
    assert at_low < at_high if low < high else at_low == at_high


@given(PLANS, BUCKETS, FLAGS)
def test_an_override_wins_both_ways(
    plan: str | None, bucket: int, flags: FlagSnapshot | None
) -> None:
    """True takes part and false does not, whatever else is set or cold."""
    assert enroll(Organization(plan, bucket, {ON: True}), flags) is Enrollment.OVERRIDE_ON
    assert enroll(Organization(plan, bucket, {ON: False}), flags) is Enrollment.OVERRIDE_OFF


@given(st.text(max_size=30))
def test_every_id_has_a_bucket(organization_id: str) -> None:
    """Any text has one bucket, always the same, from 0 to 99."""
    assert 0 <= bucket_of(organization_id) == bucket_of(organization_id) <= 99
