"""A real browser in front of a real web process.

The browser is driven from a thread of its own: its driver runs an event loop there, beside which
Django would refuse to touch the database. A test tells what to do in the window as a function of
the page, and looks at the database between.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import sync_playwright

from ledger.models import Revision
from tenants.words import Role
from tests.browsing import Shop, make_shop
from tests.chromium import FLAGS, need_chromium
from tests.factories import PersonWithToken, make_person
from tests.web_process import database_of_test, web_process

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from playwright.sync_api import Browser, ConsoleMessage, Page
    from pytest_django import DjangoDbBlocker

T = TypeVar("T")

WIDE = (1280, 900)
TIMEOUT_MS = 15_000
_beginnings = itertools.count(1_000_000, 1_000_000)


@dataclass
class Chromium:
    """The browser, and the thread that drives it."""

    thread: ThreadPoolExecutor
    browser: Browser


@dataclass
class Operator:
    """A person in front of a window; of staff, unless the test says otherwise."""

    chromium: Chromium
    page: Page
    email: str
    complaints: list[str] = field(default_factory=list)  # what the browser did not like

    def act(self, story: Callable[[Page], T]) -> T:
        """Do something in the window, and give what it gives."""
        return self.chromium.thread.submit(story, self.page).result()

    def open(self, path: str, status: int = 200) -> None:
        """Open a page, which has to be answered with this status."""
        assert self.act(partial(_open, path=path)) == status


def _open(page: Page, *, path: str) -> int:
    answer = page.goto(path)
    return 0 if answer is None else answer.status


@pytest.fixture(scope="package")
def chromium() -> Generator[Chromium, None, None]:
    """Give the browser of these tests."""
    path = need_chromium()
    with ThreadPoolExecutor(1) as thread:
        driver = thread.submit(sync_playwright().start).result()
        launch = partial(
            driver.chromium.launch, executable_path=path, args=list(FLAGS), headless=True
        )
        browser = thread.submit(launch).result()
        yield Chromium(thread, browser)
        thread.submit(browser.close).result()
        thread.submit(driver.stop).result()


@pytest.fixture(scope="package")
def web_url(
    postgres_url: str,
    redis_url: str,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[str, None, None]:
    """Give the address of a web process on this session's test database.

    It ends with these tests: what it writes of itself would be in the way of all others.
    """
    with django_db_blocker.unblock():
        database_url = database_of_test(postgres_url)
    with web_process(database_url, tmp_path_factory.mktemp("browser") / "web.log") as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def later(transactional_db: None) -> None:
    """Go on with higher revisions than any test before.

    The web process outlives the emptied database. What it remembers is then of a revision that this
    database has forgotten, as after long silence, so it drops all of it.
    """
    value = next(_beginnings)
    Revision.objects.update_or_create(id=1, defaults={"value": value, "pruned_to": value})


@pytest.fixture
def operator(chromium: Chromium, web_url: str, later: None) -> Generator[Operator, None, None]:
    """Give a staff person with an open window; a page that the browser complains about fails."""
    with _person_at_window(chromium, web_url, make_person(is_staff=True)) as staff:
        yield staff


@pytest.fixture
def shop(later: None) -> Shop:
    """Give a tenant whose production runs are placed in a region."""
    return make_shop(title="A Company With Quite A Long Name")


@pytest.fixture
def owner(chromium: Chromium, web_url: str, shop: Shop) -> Generator[Operator, None, None]:
    """Give an owner of the tenant with an open window, who may read the clipboard."""
    person = make_person(member_of=shop.tenant.organization.id, role=Role.OWNER)
    with _person_at_window(chromium, web_url, person) as customer:
        allowed = ["clipboard-read", "clipboard-write"]
        customer.act(lambda page: page.context.grant_permissions(allowed))
        yield customer


@contextmanager
def _person_at_window(
    chromium: Chromium, web_url: str, person: PersonWithToken
) -> Generator[Operator, None, None]:
    window = chromium.thread.submit(_window, chromium.browser, web_url).result()
    somebody = Operator(chromium, window, person.email)
    session = Client()
    session.force_login(get_user_model().objects.get(email=person.email))
    cookie = session.cookies[settings.SESSION_COOKIE_NAME]
    somebody.act(lambda page: _listen(page, somebody.complaints))
    somebody.act(
        lambda page: page.context.add_cookies(
            [{"name": cookie.key, "value": cookie.value, "url": web_url}]
        )
    )
    yield somebody
    somebody.act(lambda page: page.context.close())
    assert somebody.complaints == []


def _window(browser: Browser, url: str) -> Page:
    context = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]}, base_url=url)
    context.set_default_timeout(TIMEOUT_MS)
    return context.new_page()


def _listen(page: Page, complaints: list[str]) -> None:
    def note(said: ConsoleMessage) -> None:
        if said.type in {"error", "warning"}:
            complaints.append(said.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
