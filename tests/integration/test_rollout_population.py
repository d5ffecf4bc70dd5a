"""Organizations kept in memory are as of now: what was changed since the last load is read anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from deployments.worker_groups import set_project_routing
from flags.services import set_organization_flags
from ledger.connections import release_connections
from ledger.ids import new_id
from ledger.models import Change
from ledger.selectors import current_revision
from rollout.population import POPULATION, get_members
from rollout.preview import FORMS, Member
from runs.hourly_counts import count_runs
from tenants.services import update_organization
from tests.factories import NOW, ORIGIN, make_tenant, make_worker_group
from tests.ramping import ON
from tests.running import change, make_world, rows_of, run_of

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def started() -> Generator[None, None, None]:
    """Keep the organizations in memory, as a web process does."""
    POPULATION.start()
    POPULATION.reload()
    yield
    POPULATION.stop()


def member_of(organization_id: str) -> Member | None:
    """Give an organization as a preview sees it; the answer is exact as of now."""
    members, revision = get_members()
    assert revision == current_revision()
    found = [place for place, one in enumerate(members.ids) if one == organization_id]
    return members.at(found[0]) if found else None


@pytest.mark.usefixtures("started")
def test_what_was_changed_since_is_read_anew() -> None:
    """A new organization, a plan, an override, a project's default: each is there at once."""
    held = POPULATION.current()
    tenant = make_tenant(plan="free")
    organization_id, group = tenant.organization.id, make_worker_group(name="other")
    first = member_of(organization_id)
    update_organization(organization_id, {"plan": "paid"}, now=NOW, **ORIGIN)
    set_organization_flags(organization_id, {ON: True}, **ORIGIN)
    set_project_routing(tenant.project, {"default_worker": "other"}, **ORIGIN)
    later = member_of(organization_id)
    assert first is not None
    assert later is not None
    assert (FORMS[first.form].plan, first.group_id) == ("free", None)
    form = FORMS[later.form]
    assert (form.plan, form.overrides, later.group_id) == ("paid", {ON: True}, group.id)
    assert POPULATION.current() is held  # nothing was loaded for that


@pytest.mark.usefixtures("started")
def test_a_forgotten_list_of_changes_is_a_load() -> None:
    """Whoever cannot be told what was changed reads everything."""
    organization_id = make_tenant().organization.id
    Change.objects.all().delete()
    change("UPDATE ledger_revision SET pruned_to = value WHERE id = %s", 1)
    held = POPULATION.current()
    assert member_of(organization_id) is not None
    assert POPULATION.current() is not held


@pytest.mark.usefixtures("started")
def test_runs_of_now_count_at_once_and_only_once() -> None:
    """What was counted after the load is added, and not again by the next load."""
    world = make_world()
    organization_id = world.tenant.organization.id
    for minutes in (1, 2, 90):
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        old = new_id("run", now_us=int(at.timestamp() * 1_000_000))
        run_id = run_of(world.trigger()).id
        change("UPDATE runs_taskrun SET id = %s, created_at = %s WHERE id = %s", old, at, run_id)
    for _ in range(8):
        count_runs()
    fresh = member_of(organization_id)  # new since the load
    POPULATION.reload()
    loaded, again = member_of(organization_id), member_of(organization_id)
    assert fresh is not None
    assert loaded is not None
    assert fresh.runs in {2, 3}  # the hour of the third one was over when it was loaded
    assert (loaded.runs, again) == (3, loaded)


def test_two_who_count_at_once_count_each_run_once() -> None:
    """The position is held while a piece is counted."""
    world = make_world()
    for hours in (1, 2, 50):
        at = datetime.now(UTC) - timedelta(hours=hours)
        old = new_id("run", now_us=int(at.timestamp() * 1_000_000))
        run_id = run_of(world.trigger()).id
        change("UPDATE runs_taskrun SET id = %s, created_at = %s WHERE id = %s", old, at, run_id)

    def count(_number: int) -> int:
        try:
            return sum(int(count_runs()) for _ in range(4))
        finally:
            release_connections()

    with ThreadPoolExecutor(3) as threads:
        assert sum(threads.map(count, range(3))) == 3
    assert rows_of("SELECT sum(runs)::int FROM runs_hourlycount WHERE runs > %s", 0) == [(3,)]
