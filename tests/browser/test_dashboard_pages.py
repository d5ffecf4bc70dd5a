"""The dashboard in a real browser, as somebody sees it who looks for a run, or for what went wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import expect

from deployments.staff_selectors import list_any_deployments
from runs.contracts import LogBatch, LogLine
from runs.selectors import get_any_run
from runs.services.cancellation import cancel_run
from runs.services.logs import append_logs
from runs.states import ExecutionStatus, RunStatus
from tenants.key_selectors import list_working_keys
from tests.browsing import REGION, TASK, put_in_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.conftest import Operator
    from tests.browsing import Shop

pytestmark = pytest.mark.browser

NARROW: Final = 360
BETWEEN: Final = (780, 861, 990, 1090, 1280, 1800)  # where a run is one line, whatever its tags
MOST_PX: Final = 40  # of one line
ROOMS: Final = (
    "deployments", "queues", "regions", "keys", "members", "settings", "bulk",
    "bulk/new?action=replay&status=queued", "bulk/new?action=cancel",
)  # fmt: skip
TABS: Final = ("", "/payload", "/logs", "/snapshots")
LONG_LINE: Final = "a line that goes on and on " * 40
PAUSE_MS: Final = 2100  # longer than between two refreshes of a run
# What every page has to be for somebody who does not see it, asked of the page itself.
FLAWS: Final = """() => {
  const flaws = [];
  const seen = (one) => one.checkVisibility();
  if (document.querySelectorAll("h1").length !== 1) flaws.push("not one h1");
  let level = 0;
  for (const one of [...document.querySelectorAll("main h1, main h2, main h3")].filter(seen)) {
    const own = Number(one.tagName[1]);
    if (own > level + 1) flaws.push(`heading ${one.textContent} skips a level`);
    level = own;
  }
  for (const one of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (one.labels.length === 0 && !one.ariaLabel) flaws.push(`${one.name} has no label`);
  }
  for (const one of [...document.querySelectorAll("a, button, summary")].filter(seen)) {
    if (!one.textContent.trim() && !one.ariaLabel) flaws.push(`${one.outerHTML} has no name`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  flaws.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `two ids ${id}`));
  for (const one of document.querySelectorAll("[aria-labelledby]")) {
    if (!document.getElementById(one.getAttribute("aria-labelledby"))) flaws.push(one.outerHTML);
  }
  return flaws;
}"""


def write(run_id: str, *texts: str, first: int = 1) -> None:
    """Let the run's first attempt write lines."""
    at = int(datetime.now(UTC).timestamp() * 1000)
    lines = [
        LogLine(seq=first + number, at=at, stream="stdout", level=None, text=text)
        for number, text in enumerate(texts)
    ]
    append_logs(run_id=run_id, batch=LogBatch(attempt=1, lines=lines))


def mark(page: Page) -> None:
    """Leave a mark that is gone when the page is loaded anew."""
    page.evaluate("window.mark = true")


def is_marked(page: Page) -> bool:
    """Tell whether the page is still the one that was marked."""
    return bool(page.evaluate("window.mark === true"))


def paths_of(shop: Shop, run_id: str) -> list[str]:
    """Give the addresses of every kind of page."""
    runs = [shop.path(), shop.path(environment="dev"), f"{shop.path()}?task=none&status=failed"]
    tabs = [shop.path(f"{run_id}{tab}") for tab in TABS]
    placed = list_any_deployments(environment_ids=[shop.tenant.environments["prod"].id]).rows[0]
    deployment = shop.room(f"deployments/{placed.deployment.id}")
    rooms = (shop.room(room) for room in ROOMS)
    return [*runs, *tabs, *rooms, deployment, "/orgs", "/tokens"]


def test_a_list_is_fresh_and_stays_where_one_reads(owner: Operator, shop: Shop) -> None:
    """While a row is chosen, states change in place and new runs wait to be asked for."""
    older, run_id = shop.trigger(), shop.trigger()

    def choose(page: Page) -> None:
        page.goto(shop.path())
        mark(page)
        page.keyboard.press("j")
        expect(page.locator(f"#{run_id}")).to_be_focused()

    def look(page: Page) -> None:
        expect(page.get_by_test_id("fresh")).to_be_visible()
        expect(page.locator(f"[data-row={older}]")).to_contain_text("Canceled")
        expect(page.locator(f"#{run_id}")).to_be_focused()
        expect(page.get_by_test_id("run")).to_have_count(2)
        page.get_by_test_id("fresh").click()
        expect(page.get_by_test_id("run")).to_have_count(3)
        assert is_marked(page)
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{shop.path(run_id)}")

    owner.act(choose)
    cancel_run(environment_id=get_any_run(older).environment_id, run_id=older)
    shop.trigger()
    owner.act(look)


def test_filters_narrow_in_place_and_have_addresses(owner: Operator, shop: Shop) -> None:
    """Choosing narrows without a page load; chips widen again; going back and loading agree."""
    shop.trigger(tags=("blue",))
    shop.trigger("other")

    def story(page: Page) -> None:
        page.goto(shop.path())
        mark(page)
        page.get_by_label("Status", exact=True).select_option("Queued")
        expect(page.locator("h1")).to_have_text("1 queued run")
        page.get_by_label("Tag", exact=True).fill("blue")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("1 queued run tagged blue")
        page.wait_for_url("**?status=queued&tag=blue")
        page.get_by_test_id("chip").first.click()
        expect(page.locator("h1")).to_have_text("1 run tagged blue")
        page.wait_for_url("**/runs?tag=blue")
        assert is_marked(page)
        page.go_back()
        expect(page.locator("h1")).to_have_text("1 queued run tagged blue")
        page.reload()
        expect(page.get_by_test_id("chip")).to_have_count(2)
        page.get_by_test_id("facets").get_by_role("link", name="Queued").click()
        expect(page.locator("h1")).to_have_text("1 run tagged blue")
        page.wait_for_url("**/runs?tag=blue")
        expect(page.locator("#filter input[name=status]")).to_have_count(0)

    def drag(page: Page) -> None:
        page.goto(shop.path())
        mark(page)
        box = page.locator("#histogram").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20, steps=3)
        page.mouse.up()
        expect(page.locator("h1")).to_contain_text(re.compile(r"^2 runs from .+ to .+"))
        page.wait_for_url("**?from=*&to=*")
        page.locator("#histogram a").first.click()
        expect(page.locator("h1")).to_contain_text(re.compile(r"^[12] runs? from"))
        assert is_marked(page)

    owner.act(story)
    owner.act(drag)


def test_tabs_turn_without_a_page_load(owner: Operator, shop: Shop) -> None:
    """Each side of a run has an address; a line of its log can be linked to, and is found again."""
    run_id = shop.trigger(payload='{"name":"Ada"}')
    write(run_id, "first", "second")
    cancel_run(environment_id=get_any_run(run_id).environment_id, run_id=run_id)

    def story(page: Page) -> None:
        page.goto(shop.path(run_id))
        mark(page)
        page.keyboard.press("]")
        page.wait_for_url("**/payload")
        page.get_by_role("button", name="Copy", exact=True).last.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == '{\n  "name": "Ada"\n}'
        page.get_by_role("link", name="Raw").click()
        expect(page.locator("#payload")).to_have_text('{"name":"Ada"}')
        page.get_by_role("link", name="Logs").click()
        page.wait_for_url("**/logs")
        page.locator("#log-1-2 .at").click()
        page.wait_for_url("**#log-1-2")
        page.reload()
        expect(page.locator("#log-1-2")).to_have_css("background-color", re.compile("rgba"))
        page.get_by_label("Lines that contain").fill("FIRST")
        page.keyboard.press("Enter")
        page.wait_for_url("**/logs?q=FIRST")
        expect(page.get_by_test_id("log")).not_to_contain_text("second")

    owner.act(story)


def test_a_log_is_followed_to_its_end(owner: Operator, shop: Shop) -> None:
    """Lines appear while the run goes on, the newest in sight; afterwards nothing is asked for."""
    run_id = shop.trigger()
    put_in_state(run_id, RunStatus.EXECUTING, ExecutionStatus.EXECUTING)
    write(run_id, *(f"line {number}" for number in range(60)))

    def follow(page: Page) -> None:
        page.goto(shop.path(f"{run_id}/logs"))
        mark(page)
        page.get_by_role("button", name="Follow").click()
        expect(page.get_by_text("Waiting for more lines")).to_be_in_viewport()

    def look(page: Page) -> None:
        expect(page.get_by_text("the newest one")).to_be_in_viewport()
        expect(page.get_by_text("line 0", exact=True)).not_to_be_in_viewport()

    def end(page: Page) -> None:
        expect(page.locator("h1")).to_contain_text("Run completed")
        expect(page.locator("#more-lines")).to_have_count(0)
        expect(page.locator("[data-live]")).to_have_count(0)
        expect(page).to_have_title(re.compile("^Completed"))
        assert is_marked(page)

    owner.act(follow)
    write(run_id, "the newest one", first=100)
    owner.act(look)
    put_in_state(run_id, RunStatus.COMPLETED_SUCCESSFULLY, ExecutionStatus.FINISHED)
    owner.act(end)


def test_a_page_says_when_it_is_not_fresh(owner: Operator, shop: Shop) -> None:
    """While the server does not answer, what is shown stays, and that it is old is told."""
    run_id = shop.trigger()

    def story(page: Page) -> None:
        page.clock.install()
        page.goto(shop.path(run_id))
        stale = page.get_by_text("The server does not answer")
        expect(stale).to_be_hidden()
        page.route("**/runs/*", lambda route: route.abort())
        page.clock.run_for(PAUSE_MS)
        expect(stale).to_be_visible()
        expect(page.locator("h1")).to_contain_text("Run has been queued")
        page.unroute("**/runs/*")
        page.clock.run_for(2 * PAUSE_MS)
        expect(stale).to_be_hidden()

    owner.act(story)
    owner.complaints.clear()  # the browser says, too, that nothing answered


def test_everything_is_reached_by_keyboard(owner: Operator, shop: Shop) -> None:
    """The first stop skips the rail, keys lead to rooms and to the search, and focus is seen."""
    run_id = shop.trigger()

    def story(page: Page) -> None:
        page.goto(shop.path())
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_text("Crossfade")
        expect(focused).to_have_css("outline-style", "solid")
        page.keyboard.press("?")
        expect(page.get_by_test_id("keyboard")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("keyboard")).to_be_hidden()
        page.keyboard.type("gk")
        page.wait_for_url("**/keys")
        page.keyboard.press("/")
        page.keyboard.type(run_id)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{shop.path(run_id)}")
        page.get_by_role("button", name="Dark").first.click()
        expect(page.locator("body")).to_have_css("background-color", "rgb(19, 20, 24)")
        page.keyboard.type("gr")
        page.wait_for_url(f"**{shop.path()}")
        expect(page.locator("body")).to_have_css("background-color", "rgb(19, 20, 24)")

    owner.act(story)


def test_a_key_is_shown_once(owner: Operator, shop: Shop) -> None:
    """A replaced key can be copied where it appears; sending the form again makes no other one."""

    def story(page: Page) -> str:
        page.goto(shop.room("keys"))
        page.get_by_role("button", name="Replace the key of Production").click()
        secret = page.get_by_test_id("secret").inner_text()
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == secret
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("replaced or revoked meanwhile")
        assert secret not in page.content()
        return secret

    secret = owner.act(story)
    working = list_working_keys(shop.tenant.organization.id, now=datetime.now(UTC))
    environment = shop.tenant.environments["prod"].id
    found = [key.last4 for key in working if key.environment_id == environment]
    assert len(found) == 2
    assert secret[-4:] in found


def without_scripts(page: Page, story: Callable[[Page], None]) -> None:
    """Let a story happen in a window of the same person where scripts are switched off."""
    browser = page.context.browser
    assert browser is not None
    state = page.context.storage_state()
    origin = page.evaluate("location.origin")
    context = browser.new_context(java_script_enabled=False, base_url=origin, storage_state=state)
    story(context.new_page())
    context.close()


def test_all_of_it_works_without_scripts(owner: Operator, shop: Shop) -> None:
    """Where scripts are switched off, one filters, reads every side of a run, and replays it."""
    run_id = shop.trigger()
    write(run_id, "hello there")

    def story(page: Page) -> None:
        page.goto(shop.path())
        page.get_by_label("Status", exact=True).select_option("Queued")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("h1")).to_have_text("1 queued run")
        page.get_by_role("link", name=f"Open {run_id}").click()
        page.get_by_role("link", name="Logs").click()
        expect(page.get_by_test_id("log")).to_contain_text("hello there")
        expect(page.get_by_role("button", name="Follow")).to_be_hidden()
        page.get_by_role("button", name="Replay").click()
        expect(page.get_by_text("This is the replay")).to_be_visible()

    owner.open(shop.path())
    owner.act(lambda page: without_scripts(page, story))


def test_no_page_is_wider_than_a_phone(owner: Operator, shop: Shop) -> None:
    """At 360 px nothing sticks out, wider a run is one line; the menu leads to every room."""
    run_id = shop.trigger("a-task-with-quite-a-long-name", tags=("a-tag-that-is-long",) * 3)
    write(run_id, LONG_LINE, "x" * 2000)
    paths = paths_of(shop, run_id)

    def widths(page: Page) -> dict[str, int]:
        page.set_viewport_size({"width": NARROW, "height": 740})
        found = {}
        for path in paths:
            page.goto(path)
            found[path] = page.evaluate("document.documentElement.scrollWidth") - NARROW
        return found

    def heights(page: Page) -> dict[int, tuple[int, bool]]:
        page.goto(shop.path())
        found = {}
        for width in BETWEEN:
            page.set_viewport_size({"width": width, "height": 740})
            box = page.get_by_test_id("run").first.bounding_box()
            assert box is not None
            over = page.evaluate("document.documentElement.scrollWidth") > width
            found[width] = (round(box["height"]), over)
        return found

    def menu(page: Page) -> None:
        page.set_viewport_size({"width": NARROW, "height": 740})
        page.goto(shop.path())
        menu = page.get_by_test_id("menu")
        expect(menu.get_by_role("link", name="Regions")).to_be_hidden()
        menu.get_by_text("Menu").click()
        menu.get_by_role("link", name="Regions").click()
        expect(page.locator("h1")).to_have_text(f"Runs that name no region go to {REGION}")

    assert {path: over for path, over in owner.act(widths).items() if over > 0} == {}
    between = owner.act(heights)
    assert {width: row for width, row in between.items() if row[0] > MOST_PX or row[1]} == {}
    owner.act(menu)


def test_every_page_can_be_heard(owner: Operator, shop: Shop) -> None:
    """Each page has one first heading, headings in order, names for all controls, and no id twice."""
    run_id = shop.trigger(TASK)
    write(run_id, "hello there")

    def flaws(page: Page, path: str) -> list[str]:
        page.goto(path)
        return list(page.evaluate(FLAWS))

    found = {path: owner.act(partial(flaws, path=path)) for path in paths_of(shop, run_id)}
    assert {path: them for path, them in found.items() if them} == {}
