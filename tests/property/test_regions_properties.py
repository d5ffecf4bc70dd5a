"""What holds for any set of worker groups and any request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.regions import (
    GroupRow,
    Refused,
    Resolved,
    ResolveRequest,
    available_regions,
    is_usable,
    region_snapshot,
    resolve_base,
)

NAMES = st.sampled_from(["a", "b", "c", "d", "proj_1-a"])
PROJECTS = st.sampled_from(["proj_1", "proj_2"])
LABELS = st.none() | NAMES


@st.composite
def group_rows(draw: st.DrawFn) -> GroupRow:
    """Draw a group whose id is its queue."""
    name, project_id = draw(NAMES), draw(st.none() | PROJECTS)
    queue = name if project_id is None else f"{project_id}-{name}"
    return GroupRow(
        id=queue,
        type="MANAGED" if project_id is None else "UNMANAGED",
        name=name,
        master_queue=queue,
        region=draw(LABELS),
        workload_type=draw(st.sampled_from(["CONTAINER", "MICROVM"])),
        hidden=draw(st.booleans()),
        priority=draw(st.integers(1, 3)),
        project_id=project_id,
    )


WORLDS = st.lists(group_rows(), max_size=8, unique_by=lambda row: row.master_queue)
QUEUES = st.sampled_from(["a", "b", "proj_1-a", "proj_2-b", "gone"])
REQUESTS = st.builds(
    ResolveRequest,
    environment_id=st.just("env_1"),
    is_development=st.booleans(),
    region=st.none() | NAMES | st.text(max_size=5),
    project_id=PROJECTS,
    default_group_id=st.none() | QUEUES,
    allowed_queues=st.frozensets(QUEUES, max_size=3),
    has_compute_access=st.booleans(),
    global_default_id=st.none() | QUEUES,
)


@given(WORLDS, REQUESTS)
def test_resolving_is_total_and_keeps_its_gates(
    rows: list[GroupRow], request: ResolveRequest
) -> None:
    """Every request has an outcome, and a region asked for never leads past its gates."""
    outcome = resolve_base(region_snapshot(rows, revision=1), request)
    assert isinstance(outcome, Resolved | Refused)
    if isinstance(outcome, Resolved) and outcome.group is not None and request.region is not None:
        assert is_usable(outcome.group, request)
        assert outcome.is_pinned == (outcome.group.workload_type == "MICROVM")


@given(WORLDS, REQUESTS, st.randoms())
def test_the_order_of_rows_does_not_matter(
    rows: list[GroupRow], request: ResolveRequest, chance: object
) -> None:
    """Two replicas that read the same groups in different orders decide the same."""
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = region_snapshot(rows, revision=1), region_snapshot(shuffled, revision=1)
    assert first == second
    assert resolve_base(first, request) == resolve_base(second, request)


@given(WORLDS, REQUESTS)
def test_what_is_offered_can_be_had(rows: list[GroupRow], request: ResolveRequest) -> None:
    """Every region named as available is accepted."""
    snapshot = region_snapshot(rows, revision=1)
    for name in available_regions(snapshot, request):
        outcome = resolve_base(snapshot, request._replace(is_development=False, region=name))
        assert isinstance(outcome, Resolved)


@given(WORLDS, REQUESTS, group_rows())
def test_another_projects_group_changes_nothing(
    rows: list[GroupRow], request: ResolveRequest, extra: GroupRow
) -> None:
    """What another project owns is never chosen, never named, and moves nobody's choice."""
    foreign = extra._replace(
        id="proj_9-x", type="UNMANAGED", project_id="proj_9", master_queue="proj_9-x"
    )
    without = region_snapshot(rows, revision=1)
    with_it = region_snapshot([*rows, foreign], revision=1)
    assert resolve_base(without, request) == resolve_base(with_it, request)
    assert without.backings == with_it.backings


@given(WORLDS)
def test_a_backing_is_never_the_base_itself(rows: list[GroupRow]) -> None:
    """A swap always leads from a managed container group to a visible managed MicroVM group."""
    snapshot = region_snapshot(rows, revision=1)
    for queue, backing in snapshot.backings.items():
        base = snapshot.by_queue[queue]
        assert (base.type, base.workload_type) == ("MANAGED", "CONTAINER")
        assert (backing.type, backing.workload_type, backing.hidden) == (
            "MANAGED",
            "MICROVM",
            False,
        )
        assert base.region == backing.region is not None
