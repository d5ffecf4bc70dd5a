"""The deployments room in a real browser: somebody watches a deploy, and takes one back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import Client
from playwright.sync_api import expect

from tests.browsing import TASK
from tests.deploying import Author, metadata, task

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Operator
    from tests.browsing import Shop

pytestmark = pytest.mark.browser

LONG = "a-task-with-quite-a-long-name"


def author_of(shop: Shop) -> Author:
    """Give somebody with the key of production."""
    return Author(Client(), shop.tenant.keys["prod"])


def test_a_deploy_is_watched_to_its_end(owner: Operator, shop: Shop) -> None:
    """One opens a deployment under way by keyboard; it grows in place, and then stands still."""
    author = author_of(shop)
    started = author.start()

    def watch(page: Page) -> None:
        page.goto(shop.path())
        page.keyboard.type("gd")
        page.wait_for_url(f"**{shop.room('deployments')}")
        expect(page.get_by_test_id("deployment").first).to_contain_text("Building")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/deployments/{started['id']}")
        expect(page.locator("h1")).to_contain_text("is being built")
        page.evaluate("window.mark = true")

    def look(page: Page) -> None:
        expect(page.locator("h1")).to_contain_text("and new runs use it")
        expect(page.get_by_test_id("log")).to_contain_text("Became the current version")
        expect(page.get_by_test_id("tasks")).to_contain_text(LONG)
        expect(page.locator("[data-live]")).to_have_count(0)
        assert page.title().startswith("Deployed")
        assert page.evaluate("window.mark === true")

    owner.act(watch)
    author.register(started["id"], metadata(task(TASK), task(LONG)))
    author.finalize(started["id"])
    owner.act(look)


def test_a_bad_version_is_taken_back(owner: Operator, shop: Shop) -> None:
    """The consequence is read beside the button; pressed, new runs use the version before again."""
    author = author_of(shop)
    old = author.get("/api/v1/deployments/current").json()
    new = author.deploy(metadata(task(TASK), task(LONG)))
    shop.trigger()

    def story(page: Page) -> None:
        page.goto(shop.room("deployments"))
        expect(page.locator("h1")).to_have_text(f"New runs use {new['version']}")
        page.get_by_role("link", name=f"Open version {old['version']}").click()
        form = page.get_by_test_id("promote")
        expect(form).to_contain_text("So does 1 queued run.")
        expect(form).to_contain_text(f"It lacks {LONG}")
        page.get_by_role("button", name=f"Roll back to {old['version']}").click()
        expect(page.get_by_role("status").first).to_contain_text("from now on")
        expect(page.locator("h1")).to_contain_text("and new runs use it")
        page.keyboard.type("gd")
        expect(page.locator("h1")).to_have_text(f"New runs use {old['version']}")
        page.get_by_role("link", name=f"Open version {new['version']}").click()
        expect(page.get_by_role("button", name=f"Promote {new['version']}")).to_be_visible()

    owner.act(story)
    assert author.get("/api/v1/deployments/current").json()["version"] == old["version"]
