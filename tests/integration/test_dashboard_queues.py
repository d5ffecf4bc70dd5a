"""The queues room: how full each queue is, and pausing and limiting it in an incident."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from pytest_django import Settings

from deployments.manifest import QueueManifest
from tenants.projects import create_project
from tests.browsing import TASK, Shop, browser, make_shop, page_of, submit
from tests.deploying import Author, metadata, task
from tests.factories import NOW, ORIGIN
from tests.running import make_version, rows_of
from tests.running import task as manifest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def shop(settings: Settings) -> Shop:
    """Give a tenant with a task's own queue, and one called mail that may run five at once."""
    settings.ENV = dataclasses.replace(settings.ENV, dequeue_blocking_timeout_s=0)
    made = make_shop()
    mail = QueueManifest(name="mail", concurrency_limit=5)
    make_version(made.tenant, manifest(TASK), manifest("send", queue_name="mail"), queues=(mail,))
    return made


def rows(page: str) -> dict[str, str]:
    """Give what the page says of each queue, without its markup."""
    found = {}
    for row in re.findall(r'<tr data-testid="queue".*?</tr>', page, re.DOTALL):
        text = " ".join(re.sub(r"<[^>]+>", " ", row).split())
        found[text.split(" ", 1)[0]] = text
    return found


def queue_id(name: str) -> str:
    """Give the id of a queue."""
    return str(rows_of("SELECT id FROM deployments_taskqueue WHERE name = %s", name)[0][0])


def told(client: Client, path: str) -> Callable[..., str]:
    """Give what submits a form and reads the page it leads to."""

    def send(**fields: str) -> str:
        answer = submit(client, path, **fields)
        assert answer.status_code == 303
        return client.get(answer["Location"]).content.decode()

    return send


def test_a_queue_says_how_full_it_is(shop: Shop) -> None:
    """What waits, what executes, its limit; the name leads to its runs."""
    client = browser(shop.person)
    page = page_of(client, shop.room("queues"))
    assert "2 queues, none of them paused" in page
    assert "Waiting 0 at most 5 runs" in rows(page)["mail"]


def test_counts_follow_runs(shop: Shop) -> None:
    """A waiting run counts as waiting, one that was handed out as executing."""
    client = browser(shop.person)
    shop.trigger("send")
    shop.trigger("send")
    assert "Executing 0 Waiting 2" in rows(page_of(client, shop.room("queues")))["mail"]
    shop.execute()
    assert "Executing 1 Waiting 1" in rows(page_of(client, shop.room("queues")))["mail"]
    listed = page_of(client, f"{shop.path()}?queue=mail")
    assert "2 runs in queue mail" in listed
    assert "No run matches" in page_of(client, f"{shop.path()}?queue=other")


def test_a_queue_is_paused_and_goes_on(shop: Shop) -> None:
    """From that moment nothing is handed out, and then it is again."""
    client = browser(shop.person)
    shop.trigger("send")
    pause = told(client, shop.room(f"queues/{queue_id('mail')}/pause"))
    page = pause(do="pause")
    assert "mail is paused: its runs wait, those that execute go on." in page
    assert "1 of 2 queues is paused" in page
    assert "Paused" in rows(page)["mail"]
    with pytest.raises(ValueError, match="not enough values"):
        shop.execute()  # nothing is handed out
    assert "mail goes on." in pause(do="resume")
    assert shop.execute()


def test_a_limit_is_set_and_put_back(shop: Shop) -> None:
    """It stands in place of the declared one, across deploys, until it is put back."""
    client = browser(shop.person)
    limit = told(client, shop.room(f"queues/{queue_id('mail')}/limit"))
    page = limit(limit="2")
    assert "mail executes at most 2 runs now." in page
    assert "at most 2 runs in place of at most 5 runs" in rows(page)["mail"]
    page = limit()
    assert "mail executes at most 5 runs now." in page
    assert "in place of" not in rows(page)["mail"]
    assert "Nothing was changed. Queue is not overridden." in limit()


@pytest.mark.parametrize("typed", ["101", "-1", "2.5", "many", "9999999", "²"])
def test_a_limit_that_cannot_be_is_refused(shop: Shop, typed: str) -> None:
    """Above the environment's, or no whole number; nothing is changed."""
    client = browser(shop.person)
    page = told(client, shop.room(f"queues/{queue_id('mail')}/limit"))(limit=typed)
    assert "Nothing was changed." in page
    assert "at most 5 runs" in rows(page)["mail"]


def test_a_queue_of_another_tenant_or_environment_is_not_there(shop: Shop) -> None:
    """Nor can it be paused from another place."""
    other = make_shop()
    mail = queue_id("mail")
    stranger = browser(other.person)
    assert submit(stranger, other.room(f"queues/{mail}/pause"), do="pause").status_code == 404
    assert submit(stranger, shop.room(f"queues/{mail}/pause"), do="pause").status_code == 404
    own = browser(shop.person)
    staging = shop.room(f"queues/{mail}/limit", environment="stg")
    assert submit(own, staging, limit="1").status_code == 404
    assert "mail" not in rows(page_of(stranger, other.room("queues")))
    assert rows_of("SELECT paused FROM deployments_taskqueue WHERE name = 'mail'") == [(False,)]


def test_an_environment_without_queues_says_how_to_get_one(shop: Shop) -> None:
    """With the line of code that makes one."""
    page = page_of(browser(shop.person), shop.room("queues", environment="stg"))
    assert "There is no queue yet" in page
    assert "Queue(" in page


def test_queues_of_several_projects_stand_beside_their_project(shop: Shop) -> None:
    """Two of one name are two, and each is steered by itself."""
    made = create_project(shop.tenant.organization.id, name="Second", now=NOW, **ORIGIN)
    key = made.environments[-1].key.plaintext
    Author(Client(), key).deploy(metadata(task(TASK)))
    page = page_of(browser(shop.person), shop.room("queues"))
    assert page.count('data-testid="queue"') == 3
    assert "Second" in page
