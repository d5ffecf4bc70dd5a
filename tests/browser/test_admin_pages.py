"""The admin in a real browser. Each test also fails when the browser complains about a page."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from deployments.staff_selectors import list_any_deployments
from deployments.worker_groups import record_heartbeat
from flags.selectors import get_global_values, get_organization_values
from flags.services import set_global_flags
from ledger.selectors import list_audit
from tenants.services import create_user
from tests.browsing import make_shop
from tests.factories import NOW, ORIGIN, make_tenant, make_worker_group
from tests.ramping import started
from webapp.admin.site import ROUTES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Operator

pytestmark = pytest.mark.browser

ENABLED = "computeMigrationEnabled"
PAID = "computeMigrationPaidPercentage"
REASON = "their staging has run well for a week"
NARROW = 400


def switch(page: Page, key: str, choice: str) -> None:
    """Choose a position of a three-state switch."""
    row = page.get_by_test_id(f"flag-{key}")
    row.locator("label", has_text=re.compile(f"^{choice}$")).click()


def apply(page: Page, button: str) -> None:
    """Say why, and apply what was reviewed."""
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name=button).click()


def test_an_organization_is_moved(operator: Operator) -> None:
    """Staff log in, find an organization, switch its migration on, and the override is stored."""
    password = "correct horse battery staple"
    create_user(email="ada@example.com", password=password, is_staff=True, now=NOW, **ORIGIN)
    organization = make_tenant(title="Acme Paper", plan="paid").organization

    def story(page: Page) -> None:
        page.context.clear_cookies()
        page.goto("/admin/organizations/")
        page.get_by_label("Email").fill("ada@example.com")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Acme Paper").click()
        page.get_by_role("link", name="Overrides", exact=True).click()
        switch(page, ENABLED, "On")
        page.get_by_role("button", name="Review changes").click()
        expect(page.get_by_test_id("difference")).to_contain_text("not set → on")
        apply(page, "Move Acme Paper to MicroVM")
        expect(page.get_by_text("1 flag changed for Acme Paper")).to_be_visible()
        now = page.get_by_test_id(f"flag-{ENABLED}").get_by_test_id("now")
        expect(now).to_have_text("on")

    operator.act(story)
    assert get_organization_values(organization.id) == {ENABLED: True}
    (row,) = list_audit(key=ENABLED).rows
    assert (row.actor, row.source, row.reason) == ("user:ada@example.com", "admin", REASON)


def test_a_dial_by_keyboard_alone(operator: Operator) -> None:
    """The number and the switch can be reached, changed and applied without a mouse."""

    def story(page: Page) -> None:
        page.goto("/admin/flags/")
        page.get_by_label(f"{PAID}, whole per cent").focus()
        page.keyboard.type("5")
        page.get_by_test_id(f"flag-{ENABLED}").get_by_role("radio").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.get_by_role("button", name="Review changes").focus()
        page.keyboard.press("Enter")
        page.get_by_label("Reason").fill(REASON)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_text("2 flags changed for everyone")).to_be_visible()

    operator.act(story)
    assert get_global_values() == {ENABLED: True, PAID: 5}


def test_two_people_at_once(operator: Operator) -> None:
    """Whoever is second sees what the first did, keeps what they typed, and decides again."""
    operator.open("/admin/flags/")
    set_global_flags({PAID: 3}, actor="user:eve@example.com", source="api", reason="slowly")
    dial = f"{PAID}, whole per cent"

    def too_late(page: Page) -> None:
        page.get_by_label(dial).fill("10")
        page.get_by_role("button", name="Review changes").click()
        conflict = page.get_by_test_id("conflict")
        expect(conflict).to_contain_text("Nothing was saved")
        expect(conflict).to_contain_text("eve@example.com")
        expect(page.get_by_label(dial)).to_have_value("10")

    def decide(page: Page) -> None:
        page.get_by_role("button", name="Review changes").click()
        expect(page.get_by_test_id("difference")).to_contain_text("3 % → 10 %")
        apply(page, "Change 1 flag for everyone")
        expect(page.get_by_text("1 flag changed for everyone")).to_be_visible()

    operator.act(too_late)
    operator.complaints[:] = [one for one in operator.complaints if "409 (Conflict)" not in one]
    assert get_global_values() == {PAID: 3}
    operator.act(decide)
    assert get_global_values() == {PAID: 10}


def test_a_dial_is_moved_by_a_ramp(operator: Operator) -> None:
    """A slider says at once who would move; a ramp is drafted, started, and paused by a value."""
    make_tenant(title="Birch", plan="paid")
    set_global_flags({ENABLED: True}, **ORIGIN)

    def story(page: Page) -> None:
        page.goto("/admin/flags/")
        page.get_by_label(f"{PAID}, slider").fill("100")
        expect(page.get_by_label(f"{PAID}, whole per cent")).to_have_value("100")
        said = page.get_by_test_id("sentence")
        expect(said).to_contain_text("1 organization moves to MicroVM")
        page.goto("/admin/ramps/")
        page.get_by_role("link", name="New ramp").click()
        page.get_by_label("Dial").select_option(PAID)
        page.get_by_label("Step 1, per cent").fill("100")
        page.get_by_label("Reason").fill(REASON)
        page.get_by_role("button", name="Write the draft").click()
        page.get_by_label("Reason").fill(REASON)
        expect(page.get_by_test_id("offer-start")).to_contain_text("largest: Birch")
        page.get_by_role("button", name="Start: set the dial from not set to 100 %").click()
        expect(page.get_by_test_id("position")).to_contain_text("At 100 %, step 1 of 4; 5 % in")
        page.goto("/admin/flags/")
        row = page.get_by_test_id(f"flag-{PAID}")
        expect(row.get_by_test_id("source")).to_have_text("ramp")
        page.get_by_label(f"{PAID}, whole per cent").fill("0")
        page.get_by_role("button", name="Review changes").click()
        expect(page.get_by_test_id("pauses")).to_contain_text("pauses; it has reached 100 %")
        apply(page, "Move 1 organization back to containers")
        expect(page.get_by_text("1 flag changed for everyone")).to_be_visible()

    operator.act(story)
    assert get_global_values() == {ENABLED: True, PAID: 0}


def test_a_new_worker_group(operator: Operator) -> None:
    """The token of a new group is shown once, and its list says that it never connected."""

    def story(page: Page) -> str:
        page.goto("/admin/worker-groups/")
        page.get_by_role("link", name="New worker group").click()
        page.get_by_label("Name").fill("north-1-next")
        page.get_by_label("Workload type").select_option("MicroVM")
        page.get_by_label("Region").fill("north-1")
        page.get_by_label("Reason").fill(REASON)
        page.get_by_role("button", name="Create the worker group").click()
        token = page.get_by_test_id("token").inner_text()
        page.get_by_role("link", name="go to the worker groups").click()
        row = page.get_by_test_id("groups").locator("tr", has_text="north-1-next")
        expect(row).to_contain_text("Never connected")
        expect(row).to_contain_text("MicroVM")
        return token

    assert operator.act(story).startswith("tr_wgt_")


def test_no_page_is_wider_than_the_window(operator: Operator) -> None:
    """Every page fits a narrow window; only tables of a wide one may scroll, within themselves."""
    shop = make_shop(title="A Company With Quite A Long Name")
    run_id, group = shop.trigger(), make_worker_group(name="us-east-1-next")
    record_heartbeat(group_id=group.id, name="supervisor-1", now=datetime.now(UTC))
    known = {
        "organization_id": shop.tenant.organization.id,
        "group_id": group.id,
        "run_id": run_id,
        "deployment_id": list_any_deployments().rows[0].deployment.id,
        "ramp_id": started().id,
        "audit_id": str(list_audit().rows[0].id),
    }

    def widths(page: Page) -> dict[str, int]:
        found = {}
        for width in (NARROW, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            for route, _, _ in ROUTES:
                path = re.sub(r"<str:(\w+)>", lambda part: known[part[1]], route)
                page.goto(f"/admin/{path}")
                wide = page.evaluate("document.documentElement.scrollWidth")
                found[f"{path} at {width}"] = wide - width
        return found

    assert {path: over for path, over in operator.act(widths).items() if over > 0} == {}


def test_the_rail_folds_into_a_button(operator: Operator) -> None:
    """In a narrow window the navigation is opened by its button, which shows that scripts work."""

    def story(page: Page) -> None:
        page.set_viewport_size({"width": NARROW, "height": 900})
        page.goto("/admin/flags/")
        link = page.get_by_role("link", name="Organizations")
        expect(link).to_be_hidden()
        page.get_by_text("dock_to_right").locator("visible=true").click()
        link.click()
        expect(
            page.get_by_test_id("organizations").or_(page.get_by_text("no such"))
        ).to_be_visible()

    operator.act(story)


def test_pages_are_read_without_scripts(operator: Operator) -> None:
    """Where scripts are switched off, the pages are there to be read and the forms to be sent."""

    def story(page: Page) -> None:
        browser = page.context.browser
        assert browser is not None
        context = browser.new_context(
            java_script_enabled=False,
            base_url=page.context.pages[0].url or None,
            storage_state=page.context.storage_state(),
        )
        plain = context.new_page()
        plain.goto("/admin/flags/")
        switch(plain, ENABLED, "Off")
        plain.get_by_role("button", name="Review changes").click()
        apply(plain, "Change 1 flag for everyone")
        expect(plain.get_by_text("1 flag changed for everyone")).to_be_visible()
        context.close()

    operator.open("/admin/flags/")
    operator.act(story)
    assert get_global_values() == {ENABLED: False}
