"""The base of a run: every case of the order and its gates."""

from __future__ import annotations

import pytest

from deployments.regions import (
    NO_WORKER_GROUP,
    GroupRow,
    Refusal,
    Refused,
    RegionSnapshot,
    Resolved,
    ResolveRequest,
    available_regions,
    region_name_for_group,
    region_snapshot,
    resolve_base,
    visible_groups,
)


def group(
    name: str,
    *,
    region: str | None = None,
    workload_type: str = "CONTAINER",
    hidden: bool = False,
    priority: int = 100,
    project_id: str | None = None,
) -> GroupRow:
    """Make a group whose id is its name; with a project it is that project's own."""
    return GroupRow(
        id=name,
        type="MANAGED" if project_id is None else "UNMANAGED",
        name=name,
        master_queue=name if project_id is None else f"{project_id}-{name}",
        region=region,
        workload_type=workload_type,
        hidden=hidden,
        priority=priority,
        project_id=project_id,
    )


WORLD = region_snapshot(
    [
        group("use1-b", region="us-east-1"),
        group("use1-a", region="us-east-1"),
        group("use1-old", region="us-east-1", hidden=True, priority=1),
        group("use1-next", region="us-east-1", workload_type="MICROVM"),
        group("us-east-1", region="elsewhere"),  # named like another's label
        group("eu-1"),  # no label
        group("ap-1", region="ap", hidden=True),
        group("vm-only", region="sa", workload_type="MICROVM"),
        group("mine", region="office", project_id="proj_1"),
        group("mine-vm", workload_type="MICROVM", project_id="proj_1"),
        group("theirs", region="us-east-1", priority=0, project_id="proj_2"),
    ],
    revision=3,
)

PLAIN = ResolveRequest(
    environment_id="env_1",
    is_development=False,
    region=None,
    project_id="proj_1",
    default_group_id=None,
    allowed_queues=frozenset(),
    has_compute_access=False,
    global_default_id="use1-a",
)


@pytest.mark.parametrize(
    ("changes", "queue", "is_pinned"),
    [
        ({}, "use1-a", False),
        ({"default_group_id": "eu-1"}, "eu-1", False),
        ({"default_group_id": "ap-1"}, "ap-1", False),
        ({"default_group_id": "use1-next"}, "use1-next", True),
        ({"default_group_id": "eu-1", "allowed_queues": frozenset({"use1-b"})}, "eu-1", False),
        ({"default_group_id": "gone"}, "use1-a", False),
        ({"global_default_id": "use1-next"}, "use1-next", False),
        ({"region": "us-east-1"}, "use1-a", False),
        ({"region": "us-east-1", "default_group_id": "eu-1"}, "use1-a", False),
        ({"region": "use1-b"}, "use1-b", False),
        ({"region": "elsewhere"}, "us-east-1", False),
        ({"region": "eu-1"}, "eu-1", False),
        ({"region": "mine"}, "proj_1-mine", False),
        ({"region": "proj_1-mine"}, "proj_1-mine", False),
        ({"region": "use1-next", "has_compute_access": True}, "use1-next", True),
        ({"region": "mine-vm", "has_compute_access": True}, "proj_1-mine-vm", True),
        ({"region": "us-east-1", "allowed_queues": frozenset({"use1-b"})}, "use1-b", False),
        ({"region": "us-east-1", "allowed_queues": frozenset({"use1-old"})}, "use1-old", False),
        ({"region": "use1-old", "allowed_queues": frozenset({"use1-old"})}, "use1-old", False),
        ({"region": "use1-next", "allowed_queues": frozenset({"use1-next"})}, "use1-next", True),
        ({"region": "mine", "allowed_queues": frozenset({"proj_1-mine"})}, "proj_1-mine", False),
    ],
)
def test_a_base_is_found(changes: dict[str, object], queue: str, is_pinned: bool) -> None:
    """A label means the best container group the project may use, a name that very group."""
    outcome = resolve_base(WORLD, PLAIN._replace(**changes))  # type: ignore[arg-type]
    assert isinstance(outcome, Resolved)
    assert (outcome.queue, outcome.is_pinned) == (queue, is_pinned)
    assert outcome.group == WORLD.by_queue[queue]


@pytest.mark.parametrize(
    "changes",
    [
        {"region": "nowhere"},
        {"region": ""},
        {"region": "use1-old"},  # hidden
        {"region": "ap"},  # a label of hidden groups only
        {"region": "theirs"},  # another project's
        {"region": "proj_2-theirs"},
        {"region": "use1-next"},  # MicroVM without access
        {"region": "mine-vm"},
        {"region": "sa", "has_compute_access": True},  # a label without container group
        {"region": "office"},  # labels of unmanaged groups are none
        {"region": "US-EAST-1"},
        {"region": "eu-1", "allowed_queues": frozenset({"use1-b"})},  # not in the list
        {"region": "use1-next", "allowed_queues": frozenset({"eu-1"}), "has_compute_access": True},
        {"region": "theirs", "allowed_queues": frozenset({"proj_2-theirs", "eu-1"})},
    ],
)
def test_a_region_that_cannot_be_used_is_refused(changes: dict[str, object]) -> None:
    """Every refusal names the value and what is available, and says nothing else."""
    request = PLAIN._replace(**changes)  # type: ignore[arg-type]
    outcome = resolve_base(WORLD, request)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.REGION_NOT_AVAILABLE
    names = ", ".join(available_regions(WORLD, request))
    assert outcome.message == (
        f'The region "{request.region}" is not available. Available regions: {names}.'
    )


def test_nothing_available_is_said_so() -> None:
    """Without any usable group the sentence ends there."""
    outcome = resolve_base(region_snapshot([], revision=0), PLAIN._replace(region="x"))
    assert isinstance(outcome, Refused)
    assert outcome.message == 'The region "x" is not available. No region is available.'


def test_development_has_its_own_queue() -> None:
    """A development run is on its environment's queue; an explicit region is ignored."""
    outcome = resolve_base(WORLD, PLAIN._replace(is_development=True, region="nowhere"))
    assert outcome == Resolved("env_1", None, is_pinned=False)


@pytest.mark.parametrize("global_default_id", [None, "gone"])
def test_no_default_anywhere_is_refused(global_default_id: str | None) -> None:
    """An unset or dangling global default leaves no group."""
    request = PLAIN._replace(global_default_id=global_default_id)
    assert resolve_base(WORLD, request) == NO_WORKER_GROUP


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("elsewhere", "eu-1", "mine", "us-east-1")),
        (
            {"has_compute_access": True},
            ("elsewhere", "eu-1", "mine", "mine-vm", "us-east-1", "use1-next", "vm-only"),
        ),
        ({"project_id": "proj_3"}, ("elsewhere", "eu-1", "us-east-1")),
        ({"allowed_queues": frozenset({"ap-1", "proj_2-theirs"})}, ("ap",)),
    ],
)
def test_available_regions_are_labels_and_choosable_names(
    changes: dict[str, object], names: tuple[str, ...]
) -> None:
    """Customers see labels; a group without label and one that pins go by their name."""
    assert available_regions(WORLD, PLAIN._replace(**changes)) == names  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("queue", "name"),
    [
        ("use1-a", "us-east-1"),
        ("eu-1", "eu-1"),
        ("use1-next", "use1-next"),
        ("proj_1-mine", "mine"),
    ],
)
def test_a_group_is_called_by_its_geography(queue: str, name: str) -> None:
    """Only what pins, what is not shared and what has no label is called by its name."""
    assert region_name_for_group(WORLD.by_queue[queue]) == name


def test_the_default_is_shown_first_even_if_hidden() -> None:
    """A project sees its default whatever it is, then what it may choose by name."""
    shown = visible_groups(WORLD, PLAIN._replace(default_group_id="ap-1"), is_staff=False)
    assert [row.name for row in shown] == ["ap-1", "eu-1", "mine", "us-east-1", "use1-a", "use1-b"]


def test_staff_see_all_groups_once() -> None:
    """Staff see every group, the default first."""
    shown = visible_groups(WORLD, PLAIN, is_staff=True)
    assert shown[0].name == "use1-a"
    assert len(shown) == len(WORLD.rows) == len(set(shown))


def backings(*rows: GroupRow) -> dict[str, str]:
    """Give base queue -> the name of its backing."""
    found = region_snapshot(rows, revision=1)
    return {queue: row.name for queue, row in found.backings.items()}


CONTAINER_US = group("us", region="us")


@pytest.mark.parametrize(
    ("others", "backing"),
    [
        ([group("us-next", region="us", workload_type="MICROVM")], {"us": "us-next"}),
        ([], {}),
        ([group("us-next", region="us", workload_type="MICROVM", hidden=True)], {}),
        ([group("eu-next", region="eu", workload_type="MICROVM")], {}),
        ([group("free", workload_type="MICROVM")], {}),
        ([group("own", region="us", workload_type="MICROVM", project_id="proj_1")], {}),
        (
            [
                group("b", region="us", workload_type="MICROVM", priority=5),
                group("a", region="us", workload_type="MICROVM", priority=5),
                group("z", region="us", workload_type="MICROVM", priority=6),
            ],
            {"us": "a"},
        ),
    ],
)
def test_a_backing_is_the_best_visible_shared_microvm_group(
    others: list[GroupRow], backing: dict[str, str]
) -> None:
    """Same label, managed, not hidden; the lowest priority, then name; only containers have one."""
    assert backings(CONTAINER_US, *others) == backing


def test_only_labelled_shared_container_groups_have_a_backing() -> None:
    """A MicroVM group, an unmanaged one and one without label are never swapped."""
    assert (
        backings(
            group("vm", region="us", workload_type="MICROVM"),
            group("vm-2", region="us", workload_type="MICROVM"),
            group("own", region="us", project_id="proj_1"),
            group("bare"),
        )
        == {}
    )


@pytest.mark.parametrize(
    ("queue", "region"),
    [("use1-next", "us-east-1"), ("use1-a", "us-east-1"), ("eu-1", "eu-1"), ("unknown", "unknown")],
)
def test_a_queue_maps_to_its_geography(queue: str, region: str) -> None:
    """A queue without label, and an unknown one, is its own geography."""
    assert WORLD.region_of(queue) == region


def test_a_snapshot_of_nothing_answers() -> None:
    """With no groups nothing has a backing."""
    nothing: RegionSnapshot = region_snapshot([], revision=0)
    assert nothing.backing_of("us") is None
