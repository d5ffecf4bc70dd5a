"""The control room and the kill switch in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from playwright.sync_api import expect

from flags.selectors import get_global_values
from flags.services import set_global_flags
from ledger.selectors import list_audit
from tests.factories import ORIGIN
from tests.migrating import EVERYONE, make_migrating

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Operator

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ON = "computeMigrationEnabled"
REFRESHED_MS = 20_000  # a few refreshes


def test_two_actions_switch_the_migration_off(operator: Operator) -> None:
    """From a page that has nothing to do with it: a link, a button, and it has arrived."""
    set_global_flags(EVERYONE, **ORIGIN)
    operator.open("/admin/runs/")

    def story(page: Page) -> str:
        page.get_by_test_id("kill").click()
        page.get_by_role("button", name=re.compile("off MicroVM")).press("Enter")
        expect(page.get_by_test_id("arrival")).to_contain_text("decides by revision")
        expect(page.get_by_test_id("kill")).to_have_text("Migration is off")
        return page.url

    assert "/admin/migration/killed/" in operator.act(story)
    assert get_global_values()[ON] is False
    assert list_audit(limit=1).rows[0].actor == f"user:{operator.email}"


def test_the_control_room_keeps_itself_fresh_in_place(operator: Operator) -> None:
    """What another person changes appears by itself, and nothing on the page moves."""
    make_migrating(plan="paid")
    operator.open("/admin/migration/")

    def top_of_changes(page: Page) -> float:
        box = page.get_by_role("heading", name="Last changes").bounding_box()
        assert box is not None
        return box["y"]

    before = operator.act(top_of_changes)
    set_global_flags({"computeMigrationPaidPercentage": 7}, **ORIGIN)

    def story(page: Page) -> float:
        expect(page.get_by_test_id("dial-paid")).to_contain_text("7 %", timeout=REFRESHED_MS)
        return top_of_changes(page)

    assert operator.act(story) == before


def test_a_page_that_gets_no_answer_says_so_until_it_does(operator: Operator) -> None:
    """Old facts are never shown as if they were of now; when the network is back, all is as before."""
    operator.open("/admin/migration/")

    def story(page: Page) -> None:
        stale = page.get_by_test_id("stale")
        expect(stale).to_be_hidden()
        page.context.set_offline(True)
        expect(stale).to_contain_text(re.compile(r"since \d\d:\d\d:\d\d UTC"), timeout=REFRESHED_MS)
        expect(stale).to_be_visible()
        page.context.set_offline(False)
        expect(stale).to_be_hidden(timeout=REFRESHED_MS)

    operator.act(story)
    assert operator.complaints
    operator.complaints.clear()  # the browser says itself that it was offline


def test_a_session_that_ends_leads_to_the_login_and_back(operator: Operator) -> None:
    """The page does not become half a login page."""
    operator.open("/admin/migration/")

    def story(page: Page) -> str:
        page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
        page.wait_for_url("**/login?next=/admin/migration/", timeout=REFRESHED_MS)
        return page.title()

    assert "Log in" in operator.act(story)
