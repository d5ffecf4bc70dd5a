"""The check before a worker group is changed: what it says is what the next runs then do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from deployments.environment_entry import ENTRIES
from deployments.region_snapshot import LIVENESS, REGIONS
from deployments.selectors import get_worker_group
from deployments.worker_groups import (
    record_heartbeat,
    set_project_routing,
    update_worker_group,
)
from flags.services import set_organization_flags
from ledger.selectors import current_revision
from rollout.group_change import GroupChange, preview_group_change
from rollout.impact import Impact, Meaning, Shift, sentences_of
from tests.factories import NOW, ORIGIN, make_tenant, make_worker_group
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.operating import REASON, Staff, audit_after, fields_of, make_staff
from tests.running import REGION, World, make_version, run_of

if TYPE_CHECKING:
    from deployments.worker_groups import GroupFields

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

ON = "computeMigrationEnabled"


@pytest.fixture
def migrating() -> Migrating:
    """Give a region with a live backing, and everybody enrolled."""
    made = make_migrating()
    made.set_flags(EVERYONE)
    return made


def another(migrating: Migrating, *, default: str | None = None, override: Any = None) -> World:
    """Give another organization whose production runs the same group takes."""
    world = migrating.world.in_environment(make_tenant())
    make_version(world.tenant)
    if default is not None:
        set_project_routing(world.tenant.project, {"default_worker": default}, **ORIGIN)
    if override is not None:
        set_organization_flags(world.tenant.organization.id, {ON: override}, **ORIGIN)
    return world


def check(group_id: str, fields: GroupFields, *, make_default: bool = False) -> GroupChange:
    """Say what a change would do."""
    return preview_group_change(get_worker_group(group_id).row, fields, make_default=make_default)


def apply(group_id: str, fields: GroupFields, *, make_default: bool = False) -> None:
    """Make the change, in effect when this returns."""
    update_worker_group(group_id, fields, make_default=make_default, now=NOW, **ORIGIN)
    REGIONS.reload()
    ENTRIES.clear()


def test_hiding_a_backing_brings_its_organizations_back(migrating: Migrating) -> None:
    """Those who are enrolled and start there, not those who stayed out or start elsewhere."""
    make_worker_group(name="eu-1", fields={"region": "eu"})
    moves = [migrating.world, another(migrating)]
    stays = [another(migrating, override=False), another(migrating, default="eu-1")]
    before = [run_of(world.trigger()).worker_queue for world in (*moves, *stays)]
    said = check(migrating.backing_id, {"hidden": True}).sentences
    assert said == [
        (
            f"2 organizations: the next runs would go to {migrating.world.queue} (containers) instead"
            f" of {migrating.backing_queue} (MicroVM)."
        )
    ]
    apply(migrating.backing_id, {"hidden": True})
    after = [run_of(world.trigger()).worker_queue for world in (*moves, *stays)]
    assert [old != new for old, new in zip(before, after, strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    assert set(after[:2]) == {migrating.world.queue}


def test_labelling_a_group_gives_its_region_a_backing(migrating: Migrating) -> None:
    """A live group that gets the label takes the runs over."""
    row = make_worker_group(name="eu-1", fields={"region": "eu"})
    world = another(migrating, default="eu-1")
    backing = make_worker_group(name="eu-vm", fields={"workload_type": "MICROVM"})
    nothing = check(backing.id, {"region": "eu"})
    assert nothing.sentences == []  # it never connected: a trigger stays on containers
    record_heartbeat(group_id=backing.id, name="s", now=datetime.now(UTC))
    said = check(backing.id, {"region": "eu"}).sentences
    assert said == [
        "1 organization: the next runs would go to eu-vm (MicroVM) instead of eu-1 (containers)."
    ]
    apply(backing.id, {"region": "eu"})
    LIVENESS.reload()
    assert row.id
    assert run_of(world.trigger()).worker_queue == "eu-vm"


def test_priority_decides_what_a_region_means(migrating: Migrating) -> None:
    """Runs that name the region start from another group; those without a wish stay."""
    second = make_worker_group(name="second", fields={"region": REGION, "priority": 500})
    said = check(second.id, {"priority": 1}).sentences
    assert said == [
        (
            f"Runs that name the region {REGION} would start from second instead of"
            f" {migrating.world.queue}."
        )
    ]
    migrating.override(value=False)
    apply(second.id, {"priority": 1})
    assert migrating.trigger(region=REGION).worker_queue == "second"
    assert migrating.trigger().worker_queue == migrating.world.queue


def test_a_new_default_takes_everybody_over(migrating: Migrating) -> None:
    """Those whose project has a default of its own stay."""
    second = make_worker_group(name="second", fields={"region": "asia"})
    another(migrating, default=migrating.world.queue)
    said = check(second.id, {}, make_default=True).sentences
    assert said == [
        (
            f"1 organization: the next runs would go to second (containers) instead of"
            f" {migrating.backing_queue} (MicroVM)."
        )
    ]


def test_what_no_decision_reads_changes_nothing(migrating: Migrating) -> None:
    """A description, a place, the value it has already."""
    for fields in ({"description": "x"}, {"location": "y"}, {"hidden": False}, {"priority": 1}):
        assert check(migrating.backing_id, fields) == GroupChange("", [])  # type: ignore[arg-type]


def test_sentences_name_how_much_is_moved() -> None:
    """One and many, with the load of the last week, and what is refused."""
    impact = Impact(
        (
            Shift("a", "b", 1200, 168 * 2100),
            Shift("a", None, 1, 5),
            Shift(None, "b", 2, 0),
        ),
        (Meaning("eu", "a", None), Meaning("us", None, "b")),
    )
    assert sentences_of(impact, hours=168, names={"a": "containers"}) == [
        (
            "1,200 organizations (about 2,100 runs/h): the next runs would go to b (unknown) instead"
            " of a (containers)."
        ),
        "1 organization: runs that name no region would be refused, from a.",
        "2 organizations: runs that are refused now would go to b (unknown).",
        "The region eu would no longer be available to projects.",
        "The region us would become available: it means b.",
    ]
    fewer = Impact((Shift("a", "b", 7, 0), *impact.shifts[1:]), impact.meanings)
    assert fewer.mark == impact.mark != ""
    assert Impact(impact.shifts[1:], impact.meanings).mark != impact.mark


class TestThePage:
    """What moves is on the page before it can be saved, and saved as it was read."""

    @pytest.fixture
    def staff(self) -> Staff:
        """Give a staff person with a browser."""
        return make_staff()

    def test_it_is_read_before_it_is_saved(self, staff: Staff, migrating: Migrating) -> None:
        """The first sending shows it, the second saves, and what was typed stays in between."""
        path = f"/admin/worker-groups/{migrating.backing_id}/"
        page = staff.send(path, {**staff.form(path), "hidden": "on", "reason": REASON}, 200)
        assert "1 organization: the next runs would go to" in page
        assert "Nothing is saved yet" in page
        assert not get_worker_group(migrating.backing_id).row.hidden
        before = current_revision()
        staff.send(path, fields_of(page), 303)
        assert get_worker_group(migrating.backing_id).row.hidden
        assert [(row.key, row.reason) for row in audit_after(before)] == [("hidden", REASON)]

    def test_something_else_is_not_saved_on_it(self, staff: Staff, migrating: Migrating) -> None:
        """Who changes what they typed after reading is shown what that does."""
        path = f"/admin/worker-groups/{migrating.backing_id}/"
        page = staff.send(path, {**staff.form(path), "hidden": "on", "reason": REASON}, 200)
        other = {**fields_of(page), "workload_type": "CONTAINER"}
        del other["hidden"]
        again = staff.send(path, other, 200)
        assert f"Runs that name the region {REGION} would start from" in again
        assert get_worker_group(migrating.backing_id).row.workload_type == "MICROVM"
