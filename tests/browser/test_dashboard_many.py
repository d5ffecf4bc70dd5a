"""Many runs at once, and queues, in a real browser: by keyboard, live, and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from runs.bulk_work import work_bulk_actions
from runs.services.cancellation import cancel_run
from tests.browser.test_dashboard_pages import is_marked, mark, without_scripts
from tests.running import rows_of, states_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Operator
    from tests.browsing import Shop

pytestmark = pytest.mark.browser

TWO_LOOKS_MS = 6500  # a list looks each 3 s


def test_rows_are_chosen_by_keyboard_and_stay_chosen(owner: Operator, shop: Shop) -> None:
    """`x` takes a row in and out; the list does not move while one is chosen; the page counts along."""
    older, newer = shop.trigger(), shop.trigger()
    environment = shop.tenant.environments["prod"].id

    def choose(page: Page) -> None:
        page.goto(shop.path())
        for key in ("j", "x", "j", "x", "k", "x"):  # both, and the first one out again
            page.keyboard.press(key)
        bar = page.get_by_test_id("bulk")
        expect(bar).to_contain_text("1 chosen:")
        expect(page.locator(f"[data-row={older}] input")).to_be_checked()
        expect(page.locator(f"[data-row={newer}] input")).not_to_be_checked()

    def wait_and_press(page: Page) -> None:
        page.wait_for_timeout(TWO_LOOKS_MS)
        expect(page.locator(f"[data-row={older}] input")).to_be_checked()
        page.get_by_test_id("bulk").get_by_role("button", name="Replay").click()
        expect(page.locator("h1")).to_have_text("Replay 1 run of Production?")
        page.get_by_role("button", name="Replay 1 run").click()
        expect(page.locator("h1")).to_have_text("Replaying 1 run: 0 done")
        mark(page)

    def look(page: Page) -> None:
        expect(page.locator("h1")).to_have_text("1 of 1 run replayed")
        assert is_marked(page)
        page.get_by_role("link", name="The new runs").click()
        expect(page.get_by_test_id("run")).to_have_count(1)

    owner.act(choose)
    cancel_run(environment_id=environment, run_id=newer)
    owner.act(wait_and_press)
    work_bulk_actions()
    owner.act(look)
    ((replayed,),) = rows_of("SELECT replay_of_id FROM runs_taskrun WHERE replay_of_id IS NOT NULL")
    assert replayed == older


def test_a_queue_is_paused_without_losing_what_is_typed(owner: Operator, shop: Shop) -> None:
    """The room refreshes itself, but not under an open limit; `g q` leads there."""

    def story(page: Page) -> None:
        page.goto(shop.path())
        page.keyboard.press("g")
        page.keyboard.press("q")
        expect(page.locator("h1")).to_have_text("1 queue, not paused")
        row = page.get_by_test_id("queue")
        row.locator("summary").click()
        row.get_by_label("Runs at once").fill("3")
        page.locator("h1").click()
        page.wait_for_timeout(TWO_LOOKS_MS)
        expect(row.get_by_label("Runs at once")).to_have_value("3")
        row.get_by_role("button", name="Set the limit").click()
        expect(row).to_contain_text("at most 3 runs")
        row.get_by_role("button", name="Pause").click()
        expect(page.locator("h1")).to_have_text("1 of 1 queue is paused")

    owner.act(story)


def test_many_runs_are_canceled_without_scripts(owner: Operator, shop: Shop) -> None:
    """A box, a button, the question, its button: forms and links only."""
    run_id, other = shop.trigger(), shop.trigger()

    def story(page: Page) -> None:
        page.goto(shop.path())
        page.locator(f"[data-row={run_id}] input").check()
        page.get_by_test_id("bulk").get_by_role("button", name="Cancel").click()
        expect(page.locator("h1")).to_have_text("Cancel 1 run of Production?")
        page.get_by_role("button", name="Cancel 1 run").click()
        expect(page.locator("h1")).to_have_text("Canceling 1 run: 0 done")

    owner.open(shop.path())
    owner.act(lambda page: without_scripts(page, story))
    work_bulk_actions()
    assert states_of(run_id)[1] == "CANCELED"
    assert states_of(other)[1] == "PENDING"
