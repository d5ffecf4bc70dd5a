"""What the preview says is what then happens: worlds at random, previewed, changed, decided."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.region_snapshot import LIVENESS, REGIONS
from deployments.worker_groups import set_project_routing
from flags.callers import CALLERS
from flags.selectors import get_global_values
from flags.services import set_global_flags, set_organization_flags
from flags.snapshot import GLOBAL_FLAGS
from ledger.ids import new_id
from ledger.selectors import current_revision
from rollout.explain import explain
from rollout.proposal import preview_global_flags
from runs.hourly_counts import HOURS_OF_WEEK, count_runs
from runs.placement import Why
from tests.api_client import ApiClient, json_of
from tests.factories import ORIGIN, Tenant, make_person, make_tenant, make_worker_group
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.ramping import FREE, HOUR_S, ON, PAID, started
from tests.running import change, rows_of
from tests.sizes import examples

if TYPE_CHECKING:
    from rollout.explain import Explanation
    from rollout.proposal import MovingSide

pytestmark = pytest.mark.django_db

PREVIEW = "/admin/api/v1/migration/preview"
ACCESS, DEFAULT = "hasComputeAccess", "defaultWorkerInstanceGroupId"
PERCENTS = st.none() | st.sampled_from([0, 100]) | st.integers(0, 100)
CHANGES = st.fixed_dictionaries(
    {}, optional={ON: st.sampled_from([True, True, False, None]), FREE: PERCENTS, PAID: PERCENTS}
)
PLANS = ("free", "paid", "free", "paid", "enterprise", None)
OVERRIDES = (None, None, True, None, False)
GROUPS = ("common", "common", "bare", "pinned")
ORGANIZATIONS = 20  # of every combination that two of these make


@pytest.fixture
def made() -> Migrating:
    """Give a world whose default region has a live backing."""
    return make_migrating()


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


def reload_all() -> None:
    """Let this process decide by what is stored now."""
    CALLERS.clear()
    for registry in (GLOBAL_FLAGS, REGIONS, LIVENESS):
        registry.reload()


def decided(tenants: list[Tenant]) -> dict[str, Explanation]:
    """Ask where a run of each organization would go, as a trigger decides."""
    reload_all()
    return {
        one.organization.id: explain(one.organization.id, environment_slug="prod", region=None)
        for one in tenants
    }


def moved(
    before: dict[str, Explanation], after: dict[str, Explanation], *, joins: bool
) -> dict[str, Explanation]:
    """Give those whose enrollment is another one, as they are while enrolled."""
    first, second = (before, after) if joins else (after, before)
    return {
        org: second[org]
        for org in before
        if second[org].placement.enrollment.is_enrolled
        and not first[org].placement.enrollment.is_enrolled
    }


def check_side(side: MovingSide, expected: dict[str, Explanation], known: set[str]) -> None:
    """Compare what was said about one direction with what was decided."""
    listed = {one.id: one for one in side.organizations if one.id in known}
    assert listed.keys() == expected.keys()
    for org, one in listed.items():
        assert one.plan == expected[org].caller.organization.plan
        assert one.is_effective == (expected[org].placement.why is Why.MIGRATED)


def build(made: Migrating) -> list[Tenant]:
    """Make organizations of every plan, override and kind of default group."""
    make_worker_group(name="bare")
    queues = {"bare": "bare", "pinned": made.backing_queue}
    tenants = [make_tenant(plan=PLANS[number % len(PLANS)]) for number in range(ORGANIZATIONS)]
    for number, tenant in enumerate(tenants):
        override = OVERRIDES[number % len(OVERRIDES)]
        set_organization_flags(tenant.organization.id, {ON: override}, **ORIGIN)
        queue = queues.get(GROUPS[number % len(GROUPS)])
        set_project_routing(tenant.project, {"default_worker": queue}, **ORIGIN)
    return tenants


def test_what_is_said_is_what_happens(made: Migrating) -> None:
    """For any two settings of the flags: in, out, plan and effect are as decided then."""
    tenants = build(made)
    known = {tenant.organization.id for tenant in tenants}

    @given(CHANGES, CHANGES)
    @settings(
        max_examples=examples(10),
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def check(first: dict[str, Any], second: dict[str, Any]) -> None:
        made.beat()
        set_global_flags({ON: None, FREE: None, PAID: None, **first}, **ORIGIN)
        before = decided(tenants)
        said = preview_global_flags(second)
        assert said.revision == current_revision()
        set_global_flags(second, **ORIGIN)
        after = decided(tenants)
        check_side(said.joining, moved(before, after, joins=True), known)
        check_side(said.leaving, moved(before, after, joins=False), known)

    check()


def test_a_ramp_counts_as_it_stands(made: Migrating) -> None:
    """A dial that a ramp has moved is compared with where it is, not with what is stored."""
    set_global_flags({ON: True}, **ORIGIN)
    ids = [make_tenant().organization.id for _ in range(20)]
    started(ago_s=3 * HOUR_S + 1)
    assert get_global_values() == {ON: True, FREE: 100, DEFAULT: get_global_values()[DEFAULT]}
    same, down = preview_global_flags({FREE: 100}), preview_global_flags({FREE: 0})
    assert (same.joining.count, same.leaving.count) == (0, 0)
    assert {*ids, made.organization_id} == {one.id for one in down.leaving.organizations}
    assert (down.is_subset, down.is_superset) == (True, False)


def test_the_answer_has_the_agreed_shape(made: Migrating, staff: ApiClient) -> None:
    """Counts, rates, plans, regions and the largest by name; a preview writes nothing."""
    other = make_tenant(title="Cedar", plan="paid").organization.id
    made.set_flags({ON: True})
    before = current_revision()
    answer = json_of(staff.post(PREVIEW, {"flags": {FREE: 100, PAID: 100}}))
    organization = made.world.tenant.organization
    assert answer == {
        "revision": before,
        "superset": True,
        "subset": False,
        "in": {
            "count": 2,
            "runsPerHour": 0.0,
            "byPlan": {"free": 1, "paid": 1},
            "byRegion": {"us-east-1": 2},
            "organizations": [
                {
                    "id": organization.id,
                    "title": organization.title,
                    "plan": "free",
                    "runsPerHour": 0.0,
                    "effective": True,
                },
                {
                    "id": other,
                    "title": "Cedar",
                    "plan": "paid",
                    "runsPerHour": 0.0,
                    "effective": True,
                },
            ],
            "truncated": False,
        },
        "out": {
            "count": 0,
            "runsPerHour": 0.0,
            "byPlan": {},
            "byRegion": {},
            "organizations": [],
            "truncated": False,
        },
    }
    assert (current_revision(), FREE in get_global_values()) == (before, False)


def test_a_silent_backing_has_no_effect(made: Migrating, staff: ApiClient) -> None:
    """Who would be enrolled where no supervisor lives is listed as not effective."""
    made.fall_silent(for_s=60)
    answer = json_of(staff.post(PREVIEW, {"flags": EVERYONE}))
    assert [one["effective"] for one in answer["in"]["organizations"]] == [False]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({}, "flags"),
        ({"flags": None}, "flags"),
        ({"flags": [ON]}, "flags"),
        ({"flags": {}, "more": 1}, "more"),
        ({"flags": {FREE: "5"}}, FREE),
        ({"flags": {FREE: 5.0}}, FREE),
        ({"flags": {"nothing": 1}}, "nothing"),
        ({"flags": {DEFAULT: "wg_x"}}, DEFAULT),
    ],
)
def test_what_could_not_be_saved_cannot_be_previewed(
    staff: ApiClient, body: object, key: str
) -> None:
    """The same values are refused by the same names."""
    problems = json_of(staff.post(PREVIEW, body), 400)["problems"]
    assert [problem["key"] for problem in problems] == [key]


def age(run_id: str, *, hours: float) -> None:
    """Let a run have been triggered so long ago: its id says when."""
    at = datetime.now(UTC) - timedelta(hours=hours)
    old = new_id("run", now_us=int(at.timestamp() * 1_000_000))
    change("UPDATE runs_taskrun SET id = %s, created_at = %s WHERE id = %s", old, at, run_id)


class TestRunsPerHour:
    """How the load of an organization is known."""

    def test_each_run_is_counted_once(self, made: Migrating) -> None:
        """Runs of the last week but for the last seconds, however often they are counted."""
        for hours in (0.1, 0.2, 5, 30, 160, 200):
            age(made.trigger().id, hours=hours)
        made.trigger()
        counted = [int(count_runs()) for _ in range(9)]  # a day of the past each time
        assert (sum(counted), counted[-1]) == (5, 0)
        total = rows_of("SELECT sum(runs)::int FROM runs_hourlycount WHERE runs > %s", 0)
        assert total == [(5,)]
        said = preview_global_flags(EVERYONE)
        assert said.joining.runs_per_hour == round(5 / HOURS_OF_WEEK, 3)
        assert said.joining.organizations[0].runs_per_hour == said.joining.runs_per_hour
