"""Laws of the template decision: it never says less than a trigger will need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.regions import GroupRow, Refused, ResolveRequest, region_snapshot, resolve_base
from deployments.template_mode import (
    TemplateInput,
    TemplateMode,
    TemplateReason,
    TemplateSettings,
    decide_template_mode,
)
from flags.values import flag_snapshot
from runs.placement import PlacementInput, PlacementRegions, Why, decide_placement, routes_of
from tests.sizes import examples

ON = "computeMigrationEnabled"
PERCENTS = st.sampled_from([0, 1, 50, 99, 100])
NAMES = st.sampled_from(["a", "b", "c", "d", "us", "eu"])
PROJECTS = st.sampled_from(["proj_1", "proj_2"])


class Organization(NamedTuple):
    """An organization as both decisions read it."""

    id: str
    plan: str | None
    bucket: int
    overrides: Mapping[str, Any]


ORGANIZATIONS = st.builds(
    Organization,
    st.text(max_size=8),
    st.sampled_from(["free", "paid", "enterprise", None]),
    st.integers(0, 99),
    st.sampled_from([{}, {ON: True}, {ON: True}, {ON: False}]),
)
FLAGS = st.none() | st.builds(
    lambda on, free, paid, requires: flag_snapshot(
        {
            **({} if on is None else {ON: on}),
            "computeMigrationFreePercentage": free,
            "computeMigrationPaidPercentage": paid,
            "computeMigrationRequireTemplate": requires,
        },
        revision=1,
    ),
    st.none() | st.booleans(),
    PERCENTS,
    PERCENTS,
    st.booleans(),
)


OFTEN_NONE = st.none() | st.none() | st.none()
OWNERS = OFTEN_NONE | PROJECTS
KINDS = st.sampled_from(["CONTAINER", "MICROVM"])
OFTEN_FALSE = st.sampled_from([False, False, False, True])


@st.composite
def group_rows(
    draw: st.DrawFn,
    names: st.SearchStrategy[str] = NAMES,
    kinds: st.SearchStrategy[str] = KINDS,
    owners: st.SearchStrategy[str | None] = OWNERS,
) -> GroupRow:
    """Draw a group of any kind, its id its queue; labels and names may be the same words."""
    name, owner = draw(names), draw(owners)
    queue = name if owner is None else f"{owner}-{name}"
    return GroupRow(
        id=queue,
        type="MANAGED" if owner is None else "UNMANAGED",
        name=name,
        master_queue=queue,
        region=draw(st.sampled_from(["us", "us", "us", "eu", None])),
        workload_type=draw(kinds),
        hidden=draw(OFTEN_FALSE),
        priority=draw(st.integers(1, 3)),
        project_id=owner,
    )


HOME = group_rows(st.just("home"), st.just("CONTAINER"), st.none())
NEXT = group_rows(st.just("next"), st.just("MICROVM"), st.none())
QUEUES = st.sampled_from(["a", "b", "us", "proj_1-a", "proj_2-b", "gone"])
WORDS = st.sampled_from(["us", "eu", "home"]) | NAMES | QUEUES  # that a trigger may name


@st.composite
def situations(draw: st.DrawFn) -> TemplateInput:
    """Draw what a deploy finds; its defaults are mostly groups that there are."""
    others = st.lists(group_rows(), max_size=6, unique_by=lambda row: row.master_queue)
    rows = [draw(HOME), draw(NEXT), *draw(others)]
    groups = st.sampled_from([*(row.id for row in rows), "gone"])
    project = ResolveRequest(
        environment_id="env_1",
        is_development=draw(OFTEN_FALSE),
        region=None,
        project_id=draw(PROJECTS),
        default_group_id=draw(OFTEN_NONE | groups),
        allowed_queues=draw(st.just(frozenset()) | st.frozensets(groups, max_size=4)),
        has_compute_access=draw(st.booleans()),
        global_default_id=draw(st.just("home") | groups | st.none()),
    )
    asked = TemplateSettings(
        has_gateway=True, all_regions=draw(st.booleans()), shadow_percent=draw(PERCENTS)
    )
    regions = region_snapshot(rows, revision=1)
    return TemplateInput(asked, draw(ORGANIZATIONS), project, draw(FLAGS), regions)


ASKED = situations()


def swapped_to(asked: TemplateInput, region: str | None) -> str | None:
    """Give the label of the backing a trigger would swap to, all groups live; None: it stays."""
    assert asked.project is not None
    assert asked.regions is not None
    base = resolve_base(asked.regions, asked.project._replace(region=region))
    if isinstance(base, Refused):
        return None
    live = PlacementRegions(
        routes_of(asked.regions), {row.id: 10.0 for row in asked.regions.rows}, 1
    )
    placed = decide_placement(PlacementInput(asked.organization, base, asked.flags, live, 0.0))
    backing = asked.regions.by_queue.get(placed.worker_queue)
    return backing.region if placed.why is Why.MIGRATED and backing is not None else None


def test_the_laws_are_about_something() -> None:
    """Of what is drawn here many would be swapped, by default and by a name that is not the default."""
    drawn: list[tuple[str | None, str | None]] = []

    @settings(max_examples=300, derandomize=True, database=None)
    @given(ASKED, WORDS)
    def look(asked: TemplateInput, region: str) -> None:
        drawn.append((swapped_to(asked, None), swapped_to(asked, region)))

    look()
    assert sum(label is not None for label, _ in drawn) > 15
    assert sum(named not in {label, None} for label, named in drawn) > 5


@settings(max_examples=examples(500))
@given(ASKED)
def test_who_would_be_swapped_without_naming_a_region_gets_a_template(asked: TemplateInput) -> None:
    """A deploy builds for the very backing that a trigger without region would choose."""
    label = swapped_to(asked, None)
    decided = decide_template_mode(asked)
    assert label is None or (label in decided.regions and decided.is_migrated)


@settings(max_examples=examples(500))
@given(ASKED, WORDS)
def test_with_all_regions_naming_any_is_covered_too(asked: TemplateInput, region: str) -> None:
    """Whatever region is named and not refused, its backing has been built for."""
    everywhere = TemplateSettings(has_gateway=True, all_regions=True)
    label = swapped_to(asked, region)
    decided = decide_template_mode(asked._replace(settings=everywhere))
    assert label is None or label in decided.regions


@given(ASKED)
def test_a_template_is_built_where_there_is_a_place_for_it(asked: TemplateInput) -> None:
    """Skipping names no region, building names one at least, and only required can fail a deploy."""
    decided = decide_template_mode(asked)
    assert (decided.mode is TemplateMode.SKIP) == (decided.regions == ())
    assert decided.mode is not TemplateMode.REQUIRED or decided.reason in {
        TemplateReason.MICROVM_NATIVE,
        TemplateReason.MIGRATED,
    }


@given(ASKED)
def test_without_flags_or_groups_nobody_is_required_by_the_migration(asked: TemplateInput) -> None:
    """Before the flags are loaded an override builds in the shadow, and nothing else is migrated."""
    decided = decide_template_mode(asked._replace(flags=None))
    assert not decided.is_migrated or decided.mode is TemplateMode.SHADOW
    assert not decided.is_migrated or asked.organization.overrides == {ON: True}
    assert decide_template_mode(asked._replace(regions=None)).mode is TemplateMode.SKIP
