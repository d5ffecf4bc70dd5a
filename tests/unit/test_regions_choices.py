"""The regions a page offers: what members read of worker groups, and what only staff do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from deployments.region_choices import RegionChoice, region_choices
from deployments.regions import CONTAINER, MANAGED, MICROVM, GroupRow, ResolveRequest
from deployments.selectors import WorkerGroupView

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REQUEST = ResolveRequest(
    environment_id="",
    is_development=False,
    region=None,
    project_id="proj_1",
    default_group_id=None,
    allowed_queues=frozenset(),
    has_compute_access=False,
    global_default_id="us-a",
)


def group(name: str, region: str | None, **more: Any) -> WorkerGroupView:
    """Make a worker group; its id is its name."""
    known: dict[str, Any] = {
        "type": MANAGED,
        "workload_type": CONTAINER,
        "hidden": False,
        "priority": 100,
        "project_id": None,
    } | more
    described = known.pop("description", None)
    row = GroupRow(id=name, name=name, master_queue=f"q-{name}", region=region, **known)
    return WorkerGroupView(
        row,
        described,
        None,
        has_run_history=False,
        supervisors=0,
        last_heartbeat_at=None,
        created_at=NOW,
    )


WORLD = [
    group("us-a", "us-east-1", description="Virginia"),
    group("us-b", "us-east-1"),
    group("us-next", "us-east-1", workload_type=MICROVM),
    group("eu-a", "eu-central-1"),
    group("secret", "moon-1", hidden=True),
    group("other", None, type="UNMANAGED", project_id="proj_2"),
]


def named(choices: Any) -> dict[str, RegionChoice]:
    """Give choices by name."""
    return {choice.name: choice for choice in choices}


def test_groups_of_one_region_are_one_choice() -> None:
    """Members read each region once, the default first, and no worker queue."""
    choices = region_choices(WORLD, REQUEST, is_staff=False)
    assert [choice.name for choice in choices] == ["us-east-1", "eu-central-1"]
    assert (choices[0].is_default, choices[0].description) == (True, "Virginia")
    assert all(choice.queues == () and choice.is_offered for choice in choices)


def test_staff_read_all_groups_and_their_queues() -> None:
    """Staff see what is hidden, what pins and whose it is, marked as not offered."""
    choices = named(region_choices(WORLD, REQUEST, is_staff=True))
    assert choices["us-east-1"].queues == ("q-us-a", "q-us-b")
    assert {name for name, choice in choices.items() if not choice.is_offered} == {
        "us-next",
        "moon-1",
        "other",
    }


def test_compute_access_offers_what_pins() -> None:
    """A MicroVM group is a choice by its name for whoever is entitled to it."""
    entitled = REQUEST._replace(has_compute_access=True)
    choices = named(region_choices(WORLD, entitled, is_staff=False))
    assert choices["us-next"].is_microvm
    assert not choices["us-east-1"].is_microvm


def test_a_default_beyond_reach_is_geography() -> None:
    """A default that members could not choose is shown by its region, never by its queue."""
    for default in ("us-next", "secret"):
        request = REQUEST._replace(default_group_id=default)
        choices = region_choices(WORLD, request, is_staff=False)
        assert choices[0].is_default
        assert choices[0].name in {"us-east-1", "moon-1"}
        assert not any(choice.is_microvm for choice in choices)
    bare = group("bare-next", None, workload_type=MICROVM)
    request = REQUEST._replace(default_group_id="bare-next")
    (first, *_) = region_choices([*WORLD, bare], request, is_staff=False)
    assert first.name == "chosen by your operator"


def test_a_default_that_is_gone_falls_back() -> None:
    """A project whose own default does not exist any more goes where everybody goes."""
    request = REQUEST._replace(default_group_id="gone")
    assert region_choices(WORLD, request, is_staff=False)[0].name == "us-east-1"
    nobody = REQUEST._replace(global_default_id=None)
    assert not any(one.is_default for one in region_choices(WORLD, nobody, is_staff=False))


def test_an_allow_list_is_what_is_offered() -> None:
    """A restricted project chooses among its list, hidden and MicroVM groups included."""
    listed = REQUEST._replace(allowed_queues=frozenset({"q-secret", "q-us-next"}))
    choices = named(region_choices(WORLD, listed, is_staff=False))
    assert {name for name, choice in choices.items() if choice.is_offered} == {"moon-1", "us-next"}
    assert choices["us-east-1"].is_default
