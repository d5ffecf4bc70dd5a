"""The pages of the admin that are read: runs, deployments, tenants, the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deployments.staff_selectors import list_any_deployments
from flags.services import set_global_flags, set_organization_flags
from runs.selectors import get_any_run, list_snapshots
from runs.staff_selectors import AnyRunFilter, list_any_runs
from tenants.origin import Origin
from tenants.services import create_user
from tenants.staff_selectors import list_environment_places
from tests.browsing import Shop, make_shop
from tests.factories import NOW, ORIGIN, make_tenant
from tests.operating import Staff, make_staff

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser."""
    return make_staff()


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


def because(reason: str, origin: Origin = ORIGIN) -> Origin:
    """Give where a write comes from, with a reason."""
    return Origin(actor=origin["actor"], source=origin["source"], reason=reason)


def test_a_run_says_where_it_is_and_why(staff: Staff, shop: Shop) -> None:
    """Queue, region, what was asked for, enrollment, why, revision and every snapshot are there."""
    run_id = shop.trigger(region="us-east-1")
    run = get_any_run(run_id)
    page = staff.page(f"/admin/runs/{run_id}/")
    for said in (shop.worker_queue, "us-east-1", run.enrollment, run.why):
        assert said in page
    assert f">{run.decided_revision}<" in page
    assert shop.path(run_id) in page
    assert all(row.id in page for row in list_snapshots(run_id))


def test_runs_are_of_all_tenants_newest_first(staff: Staff) -> None:
    """The list shows the queue, and can be narrowed to one organization or environment."""
    first = make_shop()
    ours = first.trigger()
    theirs = make_shop().trigger()
    page = staff.page("/admin/runs/")
    assert 0 < page.index(theirs) < page.index(ours)
    assert first.worker_queue in page
    tenant = first.tenant
    for query in (
        f"organization={tenant.organization.slug}",
        f"organization={tenant.organization.id}",
        f"environment={tenant.environments['prod'].id}",
        f"worker_queue={first.worker_queue}",
    ):
        page = staff.page(f"/admin/runs/?{query}")
        assert ours in page
        assert theirs not in page


def test_a_filter_that_fits_nothing_says_so(staff: Staff, shop: Shop) -> None:
    """An unknown organization is named as such; other filters give an empty list with a word."""
    run_id = shop.trigger()
    assert "Not an organization" in staff.page("/admin/runs/?organization=nothing")
    for query in ("organization=nothing", "why=migrated", "status=EXECUTING", "region=mars"):
        page = staff.page(f"/admin/runs/?{query}")
        assert run_id not in page
        assert "No run matches." in page


def test_the_id_of_a_run_leads_to_it(staff: Staff, shop: Shop) -> None:
    """Typing an id opens the run."""
    run_id = shop.trigger()
    answer = staff.client.get(f"/admin/runs/?run={run_id}")
    assert answer["Location"] == f"/admin/runs/{run_id}/"


def test_a_search_is_bounded_and_goes_on_where_it_ended(shop: Shop) -> None:
    """A filter looks at so many runs and no more; the next page begins behind them."""
    runs = [shop.trigger() for _ in range(5)]
    nothing = AnyRunFilter(region="mars")
    page = list_any_runs(wanted=nothing, searched=2)
    assert (page.runs, page.is_cut, page.next_after) == ([], True, runs[3])
    page = list_any_runs(wanted=nothing, searched=2, after=runs[3])
    assert (page.is_cut, page.next_after) == (True, runs[1])
    page = list_any_runs(wanted=nothing, searched=2, after=runs[1])
    assert (page.is_cut, page.next_after) == (False, None)


def test_pages_of_runs_join(shop: Shop) -> None:
    """Walking the pages gives each run once, newest first."""
    runs = [shop.trigger() for _ in range(5)]
    found: list[str] = []
    after = None
    for _ in range(3):
        page = list_any_runs(wanted=AnyRunFilter(), limit=2, after=after)
        found += [run.id for run in page.runs]
        after = page.next_after
    assert found == runs[::-1]
    assert after is None


def test_a_list_costs_few_queries(
    staff: Staff, shop: Shop, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """However many runs there are, a page costs the session, the runs and whose they are."""
    for _ in range(5):
        shop.trigger()
    staff.page("/admin/runs/")
    with django_assert_max_num_queries(6):
        staff.page("/admin/runs/")


def test_deployments_are_of_all_tenants(staff: Staff, shop: Shop) -> None:
    """The list marks the current one; a deployment shows the tasks of its version."""
    make_shop()
    rows = list_any_deployments().rows
    assert [row.is_current for row in rows] == [True, True]
    page = staff.page(f"/admin/deployments/?organization={shop.tenant.organization.slug}")
    ours, theirs = rows[1].deployment.id, rows[0].deployment.id
    assert ours in page
    assert theirs not in page
    page = staff.page(f"/admin/deployments/{ours}/")
    assert "hello-world" in page
    assert "yes, new runs use it" in page
    assert [row.deployment.id for row in list_any_deployments(limit=1).rows] == [theirs]
    assert list_any_deployments(limit=1).next_after == theirs
    assert list_any_deployments(after=theirs).rows[0].deployment.id == ours


def test_an_organization_shows_its_overrides_and_environments(staff: Staff) -> None:
    """What is set for it is listed, with the ways to change it and to what belongs to it."""
    tenant = make_tenant(plan="paid")
    organization = tenant.organization
    set_organization_flags(organization.id, {"computeMigrationEnabled": True}, **ORIGIN)
    page = staff.page(f"/admin/organizations/{organization.id}/")
    for said in (
        "computeMigrationEnabled",
        ">on<",
        ">paid<",
        tenant.project.ref,
        "/flags/",
        "/plan/",
    ):
        assert said in page
    assert all(one.id in page for one in tenant.environments.values())
    assert organization.title in staff.page(f"/admin/organizations/?query={organization.slug}")


def test_environments_are_of_all_tenants(staff: Staff) -> None:
    """The list shows whose each is, can be narrowed, and its pages join."""
    first, second = make_tenant(), make_tenant()
    page = staff.page(f"/admin/environments/?organization={first.organization.slug}")
    assert all(one.id in page for one in first.environments.values())
    assert not any(one.id in page for one in second.environments.values())
    assert "There is no such environment" in staff.page("/admin/environments/?organization=nothing")
    newest = list_environment_places(limit=4)
    rest = list_environment_places(limit=4, after=newest.next_after)
    ids = [row.environment.id for row in (*newest.rows, *rest.rows)]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest.next_after) == (6, None)


def test_the_audit_can_be_narrowed(staff: Staff) -> None:
    """By key, by organization and by person, newest first; what is written stays as it is."""
    ours, theirs = make_tenant().organization, make_tenant().organization
    eve = Origin(actor="user:eve@example.com", source="api")
    set_global_flags({"hasComputeAccess": False}, **because("first of all", eve))
    set_organization_flags(ours.id, {"hasComputeAccess": True}, **because("for ours", eve))
    set_organization_flags(theirs.id, {"hasComputeAccess": True}, **because("for theirs"))
    page = staff.page("/admin/audit/?key=hasComputeAccess")
    places = [page.index(said) for said in ("for theirs", "for ours", "first of all")]
    assert places == sorted(places)
    assert "not set" in page
    for query in (f"org={ours.slug}", f"org={ours.id}"):
        page = staff.page(f"/admin/audit/?{query}")
        assert "for ours" in page
        assert "for theirs" not in page
    for query in ("actor=Eve@example.com", "actor=user:eve@example.com"):
        page = staff.page(f"/admin/audit/?{query}")
        assert "for ours" in page
        assert "for theirs" not in page
    assert "No such row." in staff.page("/admin/audit/?actor=nobody@example.com")


def test_the_audit_has_pages(staff: Staff) -> None:
    """Older rows are a link away, with the filters kept."""
    for number in range(60):
        email = f"walker{number}@example.com"
        create_user(email=email, password=None, now=NOW, **ORIGIN)
    page = staff.page("/admin/audit/?key=created")
    assert "walker59@" in page
    assert "walker1@" not in page
    query = page.partition('rel="next" href="?')[2].partition('"')[0].replace("&amp;", "&")
    assert query.startswith("key=created&after=")
    assert "walker1@" in staff.page(f"/admin/audit/?{query}")
    assert "walker59@" in staff.page("/admin/audit/?after=nonsense")


def test_the_first_page_says_what_is_set(staff: Staff) -> None:
    """It shows the values for everyone and the last changes."""
    assert "every default holds" in staff.page("/admin/")
    set_global_flags({"computeMigrationPaidPercentage": 5}, **because("a start"))
    page = staff.page("/admin/")
    assert "5 %" in page
    assert "a start" in page


def test_what_people_typed_is_never_markup(staff: Staff) -> None:
    """Titles and reasons are shown as text."""
    evil = "<img src=x onerror=alert(1)>"
    organization = make_tenant(title=evil).organization
    set_organization_flags(organization.id, {"hasComputeAccess": True}, **because(evil))
    for path in ("", "organizations/", f"organizations/{organization.id}/flags/", "audit/"):
        assert "<img src=x" not in staff.page(f"/admin/{path}")
