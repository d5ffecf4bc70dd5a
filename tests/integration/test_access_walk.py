"""Every route of the web process, asked by every kind of caller: nobody gets further than they may."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.urls import URLPattern, get_resolver
from pytest_django import Settings

from tenants.words import Role
from tests.access_table import ROUTES, Door, Route
from tests.asking import Tenants, bearer, make_tenants, send
from tests.browsing import browser
from tests.factories import make_person
from webapp.api.openapi import openapi_document
from webapp.middleware import BodyLimit, body_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

MACHINE_DOORS = {
    Door.KEY, Door.PERSON, Door.STAFF, Door.WORKER, Door.DEVELOPER, Door.MANAGED,
}  # fmt: skip
REFUSED = {401, 403, 404}
BODY_METHODS = {"POST", "PUT", "PATCH"}
# Where the bearer opens a door at all, in words of the table.
OPENS = {
    "key": {Door.KEY},
    "development key": {Door.KEY, Door.DEVELOPER},
    "member": {Door.PERSON},
    "staff": {Door.PERSON, Door.STAFF},
    "worker": {Door.WORKER, Door.MANAGED},
}


@pytest.fixture
def tenants(settings: Settings) -> Tenants:
    """Make two tenants, the first with one of everything; no dequeue waits for a run."""
    settings.ENV = dataclasses.replace(settings.ENV, dequeue_blocking_timeout_s=0)
    return make_tenants()


def routes_of(*doors: Door) -> dict[str, Route]:
    """Give the routes behind these doors."""
    return {name: route for name, route in ROUTES.items() if route.door in doors}


# -- the table is whole ----------------------------------------------------------------------------


def test_the_table_has_every_route() -> None:
    """A route that nobody decided about fails here: of the API, of the pages, of the admin."""
    from_api = {
        f"{method.upper()} {path}"
        for path, calls in openapi_document()["paths"].items()
        for method in calls
    }
    described = {re.sub(r"\{\w+\}", "*", name) for name in ROUTES}
    assert {re.sub(r"\{\w+\}", "*", name) for name in from_api} <= described
    paths = {name.partition(" ")[2] for name in described}
    assert {re.sub(r"<[^>]+>", "*", f"/{one}") for one in all_patterns()} == paths


def all_patterns(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """Give the path of every URL pattern there is."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield path
        else:
            yield from all_patterns(pattern.url_patterns, path)


# -- who comes without business --------------------------------------------------------------------


def test_what_opens_nothing_opens_nothing(tenants: Tenants) -> None:
    """No credential, garbage, a revoked key, a replaced token, half a supervisor: 401, in JSON."""
    opens = {"replaced worker token": {Door.MANAGED}}  # the secret beside it is right
    for route, known in routes_of(*MACHINE_DOORS).items():
        for kind, headers in tenants.wrong.items():
            if known.door in opens.get(kind, set()):
                continue
            answer = send(route, tenants.ids, headers, known.body)
            assert (route, kind, answer.status_code) == (route, kind, 401)
            assert answer["Content-Type"].startswith("application/json")
            assert set(json.loads(answer.content)) == {"error"}


def test_another_kind_of_credential_opens_nothing(tenants: Tenants) -> None:
    """A key where a token belongs, a token where a key does: 401; who is known but may not, 403."""
    for route, known in routes_of(*MACHINE_DOORS).items():
        for kind, headers in tenants.bearers.items():
            if known.door in OPENS[kind]:
                continue
            may_not = (known.door, kind) in {(Door.STAFF, "member"), (Door.DEVELOPER, "key")}
            answer = send(route, tenants.ids, headers, known.body)
            expected = 403 if may_not else 401
            assert (route, kind, answer.status_code) == (route, kind, expected)


def test_a_signed_address_is_for_its_own_thing(tenants: Tenants) -> None:
    """An upload needs the signature of its own address; no other credential stands for it."""
    for route in routes_of(Door.SIGNED):
        for headers in ({}, *tenants.bearers.values(), *tenants.wrong.values()):
            assert send(route, tenants.ids, headers, None).status_code == 403


# -- who asks for what is somebody else's ----------------------------------------------------------


def test_another_tenants_things_are_not_there(tenants: Tenants) -> None:
    """With a working credential of one's own, each thing of another tenant is 404."""
    for route, known in routes_of(*MACHINE_DOORS).items():
        for kind in ("key", "development key", "member", "worker"):
            if known.other is None or known.door not in OPENS[kind]:
                continue
            answer = send(route, tenants.ids, tenants.bearers[kind], known.body)
            assert (route, kind, answer.status_code) == (route, kind, known.other), answer.content


def test_what_names_no_thing_shows_only_ones_own(tenants: Tenants) -> None:
    """Lists and answers about oneself hold nothing of another tenant's."""
    secret = {
        tenants.ids[name]
        for name in ("run_id", "queue", "deployment_id", "ref", "organization_id", "organization")
    } | set(tenants.mine.tenant.keys.values())
    for route, known in routes_of(*MACHINE_DOORS - {Door.STAFF}).items():
        for kind in ("key", "development key", "member", "worker"):
            if known.other is not None or known.door not in OPENS[kind]:
                continue
            text = send(route, tenants.ids, tenants.bearers[kind], known.body).content.decode()
            assert {one for one in secret if one in text} == set(), route


def test_the_owner_gets_in(tenants: Tenants) -> None:
    """The same questions of the owner are answered: it is the caller that is refused, not the path."""
    owner = bearer(tenants.mine.tenant.keys["prod"])
    for route, known in routes_of(Door.KEY).items():
        if "{run_id}" in route and "/result" not in route:
            # The run is leased, so it has no delay any more that could be changed: 400.
            expected = 400 if route.endswith("/reschedule") else 200
            assert send(route, tenants.ids, owner, known.body).status_code == expected, route
    staff = tenants.bearers["staff"]
    for route, known in routes_of(Door.STAFF).items():
        answer = send(route, tenants.ids, staff, known.body)
        assert answer.status_code not in REFUSED, route


# -- pages -----------------------------------------------------------------------------------------


def test_pages_send_strangers_to_the_login(tenants: Tenants) -> None:
    """Without a session each page leads to the login, whatever bearer is shown."""
    for route, known in routes_of(Door.PAGE, Door.OPERATORS).items():
        for headers in ({}, *tenants.bearers.values()):
            answer = send(route, tenants.ids, headers, known.body)
            if route.startswith("POST"):  # without its token a form is not even looked at
                assert answer.status_code == 403, route
            else:
                assert (route, answer.status_code) == (route, 302)
                assert answer["Location"].startswith("/login?next=/")


def test_pages_of_other_tenants_are_not_there(tenants: Tenants) -> None:
    """A member of another organization gets 404, staff and owners get in.

    What lower roles may not do is in test_dashboard_roles.py.
    """
    organization = tenants.mine.tenant.organization.id
    stranger = browser(tenants.other.person)
    member = browser(make_person(member_of=organization, role=Role.OWNER))
    staff = browser(make_person(is_staff=True))
    for client in (stranger, member, staff):
        client.get("/orgs", follow=True)
    for route, known in routes_of(Door.PAGE).items():
        if known.other is not None:
            assert send(route, tenants.ids, {}, known.body, stranger).status_code == 404, route
            for client in (member, staff):
                answer = send(route, tenants.ids, {}, known.body, client)
                assert answer.status_code not in REFUSED, route


def test_operators_pages_are_for_staff(tenants: Tenants) -> None:
    """A member is told that it is for staff."""
    member, staff = browser(tenants.mine.person), browser(make_person(is_staff=True))
    for route in routes_of(Door.OPERATORS):
        assert send(route, tenants.ids, {}, None, member).status_code == 403, route
        assert send(route, tenants.ids, {}, None, staff).status_code == 200, route


def test_public_routes_tell_nothing_of_anybody(tenants: Tenants) -> None:
    """What is open to all is answered, and holds nothing of any tenant's."""
    secret = {tenants.ids[name] for name in ("run_id", "organization_id", "organization")}
    for route, known in routes_of(Door.PUBLIC).items():
        answer = send(route, tenants.ids, {}, known.body)
        assert answer.status_code in {200, 302, 403, 503}, route  # 503: no snapshots in a test
        shown = b"".join(cast("Any", answer)).decode(errors="replace")
        assert {one for one in secret if one in shown} == set(), route


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [one for one in ROUTES if one.split()[0] in BODY_METHODS])
def test_no_route_reads_more_than_it_may(route: str) -> None:
    """A body that is announced too large is 413 before anything else looks at it."""

    class Nothing:
        def read(self, _size: int) -> bytes:
            return b""

    said: list[str] = []
    method, _, path = route.partition(" ")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(body_limit(path) + 1),
        "wsgi.input": Nothing(),
    }

    def never(*_: Any) -> Any:
        pytest.fail("the application was asked")

    (text,) = BodyLimit(never)(environ, lambda status, _headers: said.append(status))
    assert said == ["413 Content Too Large"]
    assert b"at most" in text
