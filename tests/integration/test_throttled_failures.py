"""Wrong credentials over HTTP: bounded for those who are wrong, and for nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session

from tenants.services import create_user
from tenants.sessions import forget_sessions
from tests.api_client import ApiClient, json_of
from tests.browsing import browser, submit
from tests.factories import NOW, ORIGIN, make_person, make_tenant, make_worker_group
from webapp.throttle import CREDENTIALS

if TYPE_CHECKING:
    from django.http import HttpResponse
    from django.test import Client

pytestmark = pytest.mark.django_db

EMAIL, PASSWORD = "ada@example.com", "correct horse battery staple"
SECRET = "x-trigger-worker-managed-secret"
CALLS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("GET", "/api/v1/runs", {}),
    ("POST", "/api/v1/tasks/hello/trigger", {}),
    ("GET", "/api/v2/whoami", {}),
    ("GET", "/admin/api/v1/orgs", {}),
    ("POST", "/engine/v1/worker-actions/heartbeat", {"x-trigger-worker-instance-name": "s"}),
    ("GET", "/engine/v1/artifacts/image", {SECRET: "wrong"}),
)


@pytest.fixture
def ada() -> None:
    """Make a person with a password."""
    create_user(email=EMAIL, password=PASSWORD, now=NOW, **ORIGIN)


def log_in(client: Client, password: str, *, email: str = EMAIL) -> HttpResponse:
    """Send the login form."""
    return submit(client, "/login", email=email, password=password)


@pytest.mark.parametrize(("method", "path", "headers"), CALLS)
def test_wrong_credentials_are_told_to_stop(
    method: str, path: str, headers: dict[str, str]
) -> None:
    """After so many from an address they are 429 with a time to wait, and are not to repeat it."""
    if path.endswith("heartbeat"):
        headers = {**headers, SECRET: settings.ENV.managed_worker_secret}
    wrong = ApiClient("tr_prod_" + "x" * 40, **headers)
    answers = [wrong.send(method, path, {}) for _ in range(2 * CREDENTIALS.allowance.failures)]
    statuses = [answer.status_code for answer in answers]
    assert set(statuses[: CREDENTIALS.allowance.failures]) == {401}
    assert set(statuses) == {401, 429}
    refused = answers[statuses.index(429)]
    assert "Too many wrong credentials" in json_of(refused, 429)["error"]
    assert int(refused["Retry-After"]) >= 1
    assert refused["x-should-retry"] == "false"


def test_right_credentials_pass_all_the_same() -> None:
    """Keys and tokens that are right are never refused for what their neighbours present."""
    tenant, person = make_tenant(), make_person(is_staff=True)
    group = make_worker_group()
    wrong = ApiClient("wrong")
    while wrong.get("/api/v1/runs").status_code != 429:
        pass
    json_of(ApiClient(tenant.keys["prod"]).get("/api/v1/runs"))
    json_of(ApiClient(person.token).get("/admin/api/v1/orgs"))
    headers = {SECRET: settings.ENV.managed_worker_secret, "x-trigger-worker-instance-name": "s"}
    supervisor = ApiClient(group.token, **headers)
    json_of(supervisor.post("/engine/v1/worker-actions/heartbeat", {}))


def test_who_shows_nothing_is_asked_for_it() -> None:
    """A missing credential guesses nothing, so it is 401 however often."""
    nobody = ApiClient()
    statuses = {nobody.get("/api/v1/runs").status_code for _ in range(150)}
    assert statuses == {401}


@pytest.mark.usefixtures("ada")
def test_guesses_of_a_password_end_and_its_owner_does_not_notice() -> None:
    """The guesser waits even with the right password; a browser that was in before logs in."""
    mine = browser()
    assert log_in(mine, PASSWORD).status_code == 303
    submit(mine, "/logout")
    guesser = browser()
    assert {log_in(guesser, f"guess {number}").status_code for number in range(10)} == {401}
    refused = log_in(guesser, PASSWORD)
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) >= 1
    assert "too many wrong tries" in refused.content.decode()
    assert log_in(mine, PASSWORD).status_code == 303


@pytest.mark.usefixtures("ada")
def test_the_known_browser_is_known_for_its_own_account() -> None:
    """Its cookie is signed, sent to the login page only, and says nothing about other accounts."""
    create_user(email="bob@example.com", password=PASSWORD, now=NOW, **ORIGIN)
    client = browser()
    log_in(client, PASSWORD)
    cookie = client.cookies["known"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/login", True, "Lax")
    assert EMAIL not in cookie.value
    submit(client, "/logout")
    statuses = [log_in(client, "wrong", email="bob@example.com").status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    forged = browser()
    forged.cookies["known"] = cookie.value[:-2] + "xx"
    assert [log_in(forged, "wrong").status_code for _ in range(11)] == [401] * 10 + [429]


@pytest.mark.usefixtures("ada")
def test_ended_sessions_are_forgotten() -> None:
    """Those that go on stay, and who is logged in notices nothing."""
    client = browser()
    log_in(client, PASSWORD)
    other = browser()
    log_in(other, PASSWORD)
    ended = Session.objects.exclude(pk=client.cookies["sessionid"].value).get()
    Session.objects.filter(pk=ended.pk).update(expire_date=NOW - timedelta(days=1))
    assert (forget_sessions(now=NOW), forget_sessions(now=NOW)) == (1, 0)
    assert client.get("/orgs").status_code == 200
