"""Who may open which page, and what a page carries around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection

from tenants.services import create_user
from tests.api_client import ApiClient
from tests.browsing import Shop, browser, make_shop, page_of, submit
from tests.factories import NOW, ORIGIN, make_person, make_tenant

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery staple"
EMAIL = "ada@example.com"
WRONG = "The email or the password is wrong."


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


def test_every_page_wants_a_login(shop: Shop) -> None:
    """Whoever is not logged in is sent to the login page, and remembered where they were going."""
    run_id = shop.trigger()
    for path in ("/", "/orgs", shop.path(), shop.path(run_id)):
        answer = browser().get(path)
        assert (answer.status_code, answer["Location"]) == (302, f"/login?next={path}")


def test_logging_in_leads_to_where_one_was_going() -> None:
    """The right email, in any case, and password begin a session; logging out ends it."""
    create_user(email=EMAIL, password=PASSWORD, now=NOW, **ORIGIN)
    client = browser()
    assert 'name="password"' in page_of(client, "/login?next=/orgs")
    answer = submit(client, "/login", email=EMAIL.upper(), password=PASSWORD, next="/orgs")
    assert (answer.status_code, answer["Location"]) == (303, "/orgs")
    assert EMAIL in page_of(client, "/orgs")
    assert client.get("/login").status_code == 303
    assert submit(client, "/logout")["Location"] == "/login"
    assert client.get("/orgs").status_code == 302


def test_a_wrong_login_never_says_what_is_wrong() -> None:
    """Unknown people, wrong passwords and people who left are refused in one wording."""
    create_user(email=EMAIL, password=PASSWORD, now=NOW, **ORIGIN)
    create_user(email="left@example.com", password=PASSWORD, now=NOW, **ORIGIN)
    get_user_model().objects.filter(email="left@example.com").update(is_active=False)
    tries = ((EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("left@example.com", PASSWORD))
    for email, password in (*tries, ("", ""), ("a\x00b", "x")):
        answer = submit(browser(), "/login", email=email, password=password)
        assert answer.status_code == 401
        assert WRONG in answer.content.decode()


def test_a_login_never_leads_elsewhere() -> None:
    """An address of another site as the next page is not followed."""
    person = make_person()
    for target in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        answer = browser(person).get("/login", {"next": target})
        assert (answer.status_code, answer["Location"]) == (303, "/")


def test_another_tenants_pages_are_not_there(shop: Shop) -> None:
    """A member of one organization gets 404 for another's pages, runs and buttons; staff see it."""
    run_id = shop.trigger()
    stranger = make_shop().person
    paths = (f"/orgs/{shop.tenant.organization.slug}", shop.path(), shop.path(run_id))
    staff = browser(make_person(is_staff=True))
    for path in paths:
        assert "There is nothing here" in page_of(browser(stranger), path, status=404)
        assert staff.get(path, follow=True).status_code == 200
    for action in ("cancel", "replay"):
        answer = submit(browser(stranger), shop.path(f"{run_id}/{action}"))
        assert answer.status_code == 404


def test_a_run_is_only_below_its_own_place(shop: Shop) -> None:
    """A run cannot be read below another environment or organization, whoever may see both."""
    run_id = shop.trigger()
    staff = browser(make_person(is_staff=True))
    other = make_tenant().organization.slug
    for path in (shop.path(run_id, environment="stg"), f"/orgs/{other}/prod/runs/{run_id}"):
        page_of(staff, path, status=404)
    page_of(staff, shop.path(environment="preview"), status=404)


def test_the_first_page_is_the_production_of_ones_own(shop: Shop) -> None:
    """The root leads a member to their production runs, and somebody without any to a hint."""
    answer = browser(shop.person).get("/")
    assert (answer.status_code, answer["Location"]) == (302, shop.path())
    nobody = make_person()
    assert browser(nobody).get("/")["Location"] == "/orgs"
    assert "not a member of an organization yet" in page_of(browser(nobody), "/orgs")


def test_the_list_of_organizations_is_ones_own(shop: Shop) -> None:
    """A member chooses among theirs, staff among all, by name."""
    other = make_tenant(title="Cedar and Sons").organization
    member, staff = browser(shop.person), browser(make_person(is_staff=True))
    assert other.title not in page_of(member, "/orgs")
    assert other.title in page_of(staff, "/orgs")
    assert other.title in page_of(staff, "/orgs?query=cedar")
    assert "No organization has" in page_of(staff, "/orgs?query=none-of-these")


def test_pages_forbid_what_is_not_ours(shop: Shop) -> None:
    """Pages carry the content policy, cannot be framed, stay in no cache, and inline nothing."""
    run_id = shop.trigger()
    for path in ("/orgs", shop.path(), shop.path(run_id)):
        answer = browser(shop.person).get(path)
        page = answer.content.decode()
        assert "default-src 'self'" in answer["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["Cache-Control"] == "private, no-store"
        assert " style=" not in page
        assert "<style" not in page
        assert "<script>" not in page
        assert " onclick=" not in page


def test_machine_routes_know_no_session(shop: Shop) -> None:
    """A browser's session is nothing to the API, which sets no cookie and answers JSON."""
    client = browser(shop.person)
    for path in ("/api/v1/runs", "/api/v1/nothing", "/admin/api/v1/orgs", "/engine/nothing"):
        answer = client.get(path)
        assert answer.status_code in {401, 404}
        assert answer["Content-Type"].startswith("application/json")
        assert not answer.cookies
        assert "Content-Security-Policy" not in answer
        assert "Cookie" not in answer.get("Vary", "")


def test_an_address_that_is_nothing_gets_a_page() -> None:
    """A browser is told in HTML that there is nothing, with a way on."""
    page = page_of(browser(), "/nowhere", status=404)
    assert "There is nothing here" in page
    assert 'href="/"' in page


def test_a_wrong_method_changes_nothing(shop: Shop) -> None:
    """What a button does cannot be done by opening its address."""
    run_id = shop.trigger()
    for path in ("/logout", shop.path(f"{run_id}/cancel"), shop.path(f"{run_id}/replay")):
        assert browser(shop.person).get(path).status_code == 405


def test_files_answer_with_their_version() -> None:
    """The stylesheet is kept for ever under the address that pages name, else asked for again."""
    page = page_of(browser(), "/login")
    address = page.partition('<link rel="stylesheet" href="')[2].partition('"')[0]
    named = browser().get(address)
    assert named["Content-Type"].startswith("text/css")
    assert "immutable" in named["Cache-Control"]
    assert b"--paper" in named.content
    plain = browser().get("/static/crossfade.css")
    assert plain["Cache-Control"] == "no-cache"
    again = browser().get("/static/crossfade.css", headers={"if-none-match": plain["ETag"]})
    assert again.status_code == 304
    for name in ("nothing.css", "../settings.py", "%2e%2e/settings.py"):
        assert ApiClient().get(f"/static/{name}").status_code == 404


def test_a_list_costs_few_queries(
    shop: Shop, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """However many runs there are, a list costs the session, the place, the page and its counts.

    The counts are one query too, in a transaction of their own that bounds how long it may take.
    """
    for _ in range(10):
        shop.trigger()
    client = browser(shop.person)
    page_of(client, shop.path())
    with django_assert_max_num_queries(11):
        page_of(client, shop.path())


def test_a_failure_nobody_foresaw_is_a_page_too(shop: Shop) -> None:
    """A page that breaks answers 500 without a trace of its inside."""
    client = browser(shop.person)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runs_taskrun RENAME TO runs_taskrun_gone")
    page = page_of(client, shop.path(), status=500)
    assert "Something went wrong on our side" in page
    assert "runs_taskrun" not in page


@pytest.mark.django_db(transaction=True)
def test_a_lost_database_is_a_page_too() -> None:
    """Without the database a page answers 503 and says that nothing is lost."""
    client = browser(make_person())
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    page = page_of(client, "/orgs", status=503)
    connection.close()
    assert "No run that was accepted is lost" in page
