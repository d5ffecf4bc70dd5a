"""Where a run goes: every reason, and every case of a region's backing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from deployments.regions import GroupRow, Resolved, region_snapshot
from flags.enrollment import Enrollment
from flags.values import flag_snapshot
from runs.placement import (
    COLD_REGIONS,
    Placement,
    PlacementInput,
    PlacementRegions,
    Why,
    decide_placement,
    routes_of,
)

ON = "computeMigrationEnabled"
NOW_S = 1000.0
ENABLED = {ON: True, "computeMigrationFreePercentage": 100}


class Organization(NamedTuple):
    """An organization as the decision reads it."""

    plan: str | None = "free"
    bucket: int = 50
    overrides: Mapping[str, Any] = {}


IN = Organization(overrides={ON: True})
OUT = Organization(overrides={ON: False})


def group(name: str, workload_type: str = "CONTAINER", **changes: Any) -> GroupRow:
    """Give a managed, visible group of us-east-1, unless `changes` say otherwise."""
    row = GroupRow(
        id=f"wg_{name}",
        type="MANAGED",
        name=name,
        master_queue=name,
        region="us-east-1",
        workload_type=workload_type,
        hidden=False,
        priority=100,
        project_id=None,
    )
    return row._replace(**changes)


def vm(name: str, **changes: Any) -> GroupRow:
    """Give a MicroVM group of us-east-1."""
    return group(name, "MICROVM", **changes)


def regions(*rows: GroupRow, live: bool = True) -> PlacementRegions:
    """Give the regions of these groups; all or none of them are live."""
    snapshot = region_snapshot(rows, revision=7)
    deadlines_s = {row.id: NOW_S + 1 if live else NOW_S for row in rows}
    return PlacementRegions(routes_of(snapshot), deadlines_s, snapshot.revision)


def placed(
    base: GroupRow,
    *others: GroupRow,
    organization: Organization = IN,
    live: bool = True,
    pinned: bool = False,
) -> Placement:
    """Decide for a run whose base is the first group."""
    given = PlacementInput(
        organization,
        Resolved(base.master_queue, base, is_pinned=pinned),
        flag_snapshot({}, revision=1),
        regions(base, *others, live=live),
        NOW_S,
    )
    return decide_placement(given)


BASE, NEXT = group("us-east-1"), vm("us-east-1-next")


@pytest.mark.parametrize(
    ("rows", "queue", "why"),
    [
        ((BASE, NEXT), "us-east-1-next", Why.MIGRATED),
        ((BASE,), "us-east-1", Why.NO_BACKING),
        ((BASE, vm("eu-next", region="eu-central-1")), "us-east-1", Why.NO_BACKING),
        ((BASE, vm("next", region=None)), "us-east-1", Why.NO_BACKING),
        ((BASE, vm("next", hidden=True)), "us-east-1", Why.NO_BACKING),
        ((BASE, vm("next", type="UNMANAGED", project_id="p")), "us-east-1", Why.NO_BACKING),
        ((BASE, group("other")), "us-east-1", Why.NO_BACKING),
        ((group("us-east-1", region=None), NEXT), "us-east-1", Why.NO_LABEL),
        ((group("mine", type="UNMANAGED", project_id="p"), NEXT), "mine", Why.BASE_NOT_ELIGIBLE),
        ((NEXT,), "us-east-1-next", Why.BASE_NOT_ELIGIBLE),
        ((NEXT, vm("a-sibling")), "us-east-1-next", Why.BASE_NOT_ELIGIBLE),
        ((BASE, vm("b"), vm("a")), "a", Why.MIGRATED),
        ((BASE, vm("b", priority=1), vm("a")), "b", Why.MIGRATED),
        ((BASE, vm("b", hidden=True, priority=1), vm("a")), "a", Why.MIGRATED),
        ((group("old-name"), vm("x")), "x", Why.MIGRATED),
    ],
)
def test_a_regions_backing(rows: tuple[GroupRow, ...], queue: str, why: Why) -> None:
    """An enrolled run goes to the visible, managed MicroVM group of its label, or says why not."""
    decided = placed(*rows)
    assert (decided.worker_queue, decided.why) == (queue, why)
    assert decided.enrollment is Enrollment.OVERRIDE_ON


@pytest.mark.parametrize("rows", [(BASE, NEXT), (NEXT, BASE)])
def test_the_order_of_rows_changes_nothing(rows: tuple[GroupRow, ...]) -> None:
    """The backing is chosen by priority and name, whatever order the database answers in."""
    snapshot = region_snapshot((*rows, vm("another")), revision=1)
    backing = snapshot.backing_of("us-east-1")
    assert backing is not None
    assert backing.name == "another"


def test_a_migrated_run_keeps_its_geography() -> None:
    """The queue is the backing's, the region the label."""
    assert placed(BASE, NEXT) == (
        "us-east-1-next",
        "us-east-1",
        Enrollment.OVERRIDE_ON,
        Why.MIGRATED,
    )


def test_an_organization_outside_stays() -> None:
    """Not enrolled: the base's own queue."""
    decided = placed(BASE, NEXT, organization=OUT)
    assert decided == ("us-east-1", "us-east-1", Enrollment.OVERRIDE_OFF, Why.NOT_ENROLLED)


def test_a_backing_that_is_down_is_not_used() -> None:
    """The run stays on containers, and the next backing does not step in."""
    decided = placed(BASE, NEXT, vm("zz"), live=False)
    assert (decided.worker_queue, decided.why) == ("us-east-1", Why.BACKING_DOWN)


def test_only_the_first_backing_counts_as_live() -> None:
    """A live second backing does not take over for a first one that is down."""
    rows = (BASE, vm("a"), vm("b"))
    view = PlacementRegions(routes_of(region_snapshot(rows, revision=1)), {"wg_b": NOW_S + 9}, 1)
    base = Resolved("us-east-1", BASE, is_pinned=False)
    decided = decide_placement(PlacementInput(IN, base, None, view, NOW_S))
    assert (decided.worker_queue, decided.why) == ("us-east-1", Why.BACKING_DOWN)


def test_a_pinned_run_is_never_swapped() -> None:
    """A MicroVM group that was chosen is kept, by whoever is enrolled or not."""
    for organization in (IN, OUT):
        decided = placed(NEXT, vm("a"), organization=organization, pinned=True, live=False)
        assert (decided.worker_queue, decided.why) == ("us-east-1-next", Why.PINNED)
        assert decided.region == "us-east-1"


def test_unlabelled_groups_are_their_own_region() -> None:
    """A group without label shows its queue's name, also when it was chosen."""
    assert placed(group("bare", region=None)).region == "bare"
    assert placed(vm("bare", region=None), pinned=True).region == "bare"


def test_development_has_its_own_queue_and_no_region() -> None:
    """A development run goes to its environment, whatever is enrolled."""
    base = Resolved("env_1", None, is_pinned=False)
    given = PlacementInput(IN, base, None, regions(BASE, NEXT), NOW_S)
    assert decide_placement(given) == ("env_1", None, Enrollment.OVERRIDE_ON, Why.DEVELOPMENT)


@pytest.mark.parametrize(
    ("base", "pinned", "why"),
    [
        (BASE, False, Why.NO_LABEL),
        (NEXT, True, Why.PINNED),
        (NEXT, False, Why.BASE_NOT_ELIGIBLE),
        (group("g", type="UNMANAGED"), False, Why.BASE_NOT_ELIGIBLE),
    ],
)
@pytest.mark.parametrize("view", [COLD_REGIONS, regions(group("other"))])
def test_a_base_the_snapshot_lacks_is_not_migrated(
    base: GroupRow, pinned: bool, why: Why, view: PlacementRegions
) -> None:
    """Cold, or not told of the group yet: the run stays with its base, under its own label."""
    resolved = Resolved(base.master_queue, base, is_pinned=pinned)
    decided = decide_placement(PlacementInput(IN, resolved, None, view, NOW_S))
    assert decided == (base.master_queue, "us-east-1", Enrollment.OVERRIDE_ON, why)


def test_cold_flags_enroll_nobody_without_override() -> None:
    """Without a flag snapshot only an override moves a run."""
    base = Resolved("us-east-1", BASE, is_pinned=False)
    cold = decide_placement(PlacementInput(Organization(), base, None, regions(BASE, NEXT), NOW_S))
    assert (cold.enrollment, cold.why) == (Enrollment.COLD, Why.NOT_ENROLLED)


@pytest.mark.parametrize(("bucket", "why"), [(49, Why.MIGRATED), (50, Why.NOT_ENROLLED)])
def test_the_dial_decides_by_bucket(bucket: int, why: Why) -> None:
    """At 50 percent bucket 49 is in and bucket 50 is out."""
    flags = flag_snapshot({ON: True, "computeMigrationFreePercentage": 50}, revision=1)
    base = Resolved("us-east-1", BASE, is_pinned=False)
    given = PlacementInput(Organization("free", bucket), base, flags, regions(BASE, NEXT), NOW_S)
    assert decide_placement(given).why is why


@pytest.mark.parametrize(
    ("ready", "queue", "why"),
    [
        (None, "us-east-1-next", Why.MIGRATED),
        (frozenset({"us-east-1", "eu"}), "us-east-1-next", Why.MIGRATED),
        (frozenset({"eu"}), "us-east-1", Why.TEMPLATE_NOT_READY),
        (frozenset[str](), "us-east-1", Why.TEMPLATE_NOT_READY),
    ],
)
def test_code_that_is_not_ready_stays_on_containers(
    ready: frozenset[str] | None, queue: str, why: Why
) -> None:
    """Where a template is required, only one for the backing's region lets a run over."""
    base = Resolved("us-east-1", BASE, is_pinned=False)
    given = PlacementInput(IN, base, None, regions(BASE, NEXT), NOW_S, ready)
    assert decide_placement(given) == (queue, "us-east-1", Enrollment.OVERRIDE_ON, why)


def test_every_other_reason_comes_before_readiness() -> None:
    """Who would stay anyway stays for that reason, and a pinned run is where it is wanted."""
    base = Resolved("us-east-1", BASE, is_pinned=False)
    nowhere = frozenset[str]()
    for organization, view, why in (
        (OUT, regions(BASE, NEXT), Why.NOT_ENROLLED),
        (IN, regions(BASE), Why.NO_BACKING),
        (IN, regions(BASE, NEXT, live=False), Why.BACKING_DOWN),
    ):
        given = PlacementInput(organization, base, None, view, NOW_S, nowhere)
        assert decide_placement(given).why is why
    pinned = Resolved("us-east-1-next", NEXT, is_pinned=True)
    given = PlacementInput(IN, pinned, None, regions(BASE, NEXT), NOW_S, nowhere)
    assert decide_placement(given).why is Why.PINNED
