"""Canceling and replaying many runs from the list: the page says how many before, and how far after."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from runs.bulk_work import work_bulk_actions
from tests.browsing import TASK, Shop, browser, make_shop, page_of, submit
from tests.running import rows_of, states_of

if TYPE_CHECKING:
    from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


def hidden(page: str) -> dict[str, list[str]]:
    """Give the fields that the form of a page carries unseen."""
    form = page.partition('data-testid="bulk-new"')[2].partition("</form>")[0]
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(value)
    return fields


def press(client: Client, shop: Shop, page: str) -> str:
    """Press the button of a page that asks; give the page it leads to."""
    fields: dict[str, Any] = hidden(page)
    answer = submit(client, shop.room("bulk/new"), **fields)
    assert answer.status_code == 303
    return str(answer["Location"])


def test_all_that_match_are_canceled(shop: Shop) -> None:
    """The question names them and their number; a run made after it is not meant."""
    client = browser(shop.person)
    old = [shop.trigger(tags=("blue",)) for _ in range(2)]
    other = shop.trigger(tags=("red",))
    page = page_of(client, shop.room("bulk/new?action=cancel&tag=blue"))
    assert "Cancel 2 runs of Production?" in page
    assert "All runs tagged blue that are there now" in page
    address = press(client, shop, page)
    assert "Canceling 2 runs: 0 done" in page_of(client, address)
    work_bulk_actions()
    ended = page_of(client, address)
    assert "2 of 2 runs canceled" in ended
    assert shop.person.email in ended
    assert {states_of(each)[1] for each in old} == {"CANCELED"}
    assert states_of(other)[1] != "CANCELED"
    bulk_id = address.rpartition("/")[2]
    assert "2 runs reached by" in page_of(client, f"{shop.path()}?bulk={bulk_id}")
    listed = page_of(client, shop.room("bulk"))
    assert "runs tagged blue" in listed


def test_the_chosen_ones_are_replayed(shop: Shop) -> None:
    """Only those, whatever the filter of the list says."""
    client = browser(shop.person)
    chosen, other = shop.trigger(), shop.trigger()
    page = page_of(client, shop.room(f"bulk/new?action=replay&task={TASK}&run={chosen}"))
    assert "Replay 1 run of Production?" in page
    assert "The 1 chosen run." in page
    assert "where each run was" in page
    address = press(client, shop, page)
    work_bulk_actions()
    assert "1 of 1 run replayed" in page_of(client, address)
    assert rows_of("SELECT replay_of_id FROM runs_taskrun WHERE replay_of_id IS NOT NULL") == [
        (chosen,)
    ]
    assert states_of(other)[1] == "PENDING"


def test_nothing_is_done_to_everything_by_saying_nothing(shop: Shop) -> None:
    """Neither the page nor its form takes a list that nothing narrows."""
    client = browser(shop.person)
    shop.trigger()
    page = page_of(client, shop.room("bulk/new?action=cancel"))
    assert "Choose runs, or narrow the list first" in page
    assert "bulk-new" not in page
    answer = submit(client, shop.room("bulk/new"), action="cancel")
    told = client.get(answer["Location"]).content.decode()
    assert "Nothing was begun. Choose runs, or narrow the list first" in told
    assert rows_of("SELECT count(*) FROM runs_bulkaction") == [(0,)]
    assert client.get(shop.room("bulk/new?action=erase&tag=a")).status_code == 404


def test_what_there_is_none_of_is_said_so(shop: Shop) -> None:
    """Also when the runs are another tenant's."""
    client, other = browser(shop.person), make_shop()
    foreign = other.trigger(tags=("blue",))
    for query in ("tag=blue", f"run={foreign}"):
        page = page_of(client, shop.room(f"bulk/new?action=cancel&{query}"))
        assert "There is no run that this would be about" in page
    assert submit(client, shop.room("bulk/new"), action="cancel", run=foreign).status_code == 303
    assert rows_of("SELECT count(*) FROM runs_bulkaction") == [(0,)]


def test_what_failed_is_named_with_its_reason(shop: Shop) -> None:
    """A region that is not available refuses each replay, and the page says so."""
    client = browser(shop.person)
    run_id = shop.trigger()
    answer = submit(
        client, shop.room("bulk/new"), action="replay", status="queued", target="<mars>"
    )
    work_bulk_actions()
    page = page_of(client, answer["Location"])
    assert "0 of 1 run replayed; 1 could not be" in page
    assert run_id in page
    assert "&lt;mars&gt;" in page


def test_an_action_is_aborted_and_is_another_tenants_nothing(shop: Shop) -> None:
    """The page of it is not there for others, nor its button."""
    client, stranger = browser(shop.person), make_shop()
    shop.trigger()
    address = submit(client, shop.room("bulk/new"), action="replay", status="queued")["Location"]
    theirs = stranger.room(f"bulk/{address.rpartition('/')[2]}")
    assert browser(stranger.person).get(theirs).status_code == 404
    assert submit(browser(stranger.person), f"{theirs}/abort").status_code == 404
    assert submit(client, f"{address}/abort").status_code == 303
    assert "Aborted: 0 of 1 run replayed" in page_of(client, address)
    again = submit(client, f"{address}/abort")
    assert "It was over already" in client.get(again["Location"]).content.decode()


def test_a_period_is_counted_to_the_moment_of_the_question(shop: Shop) -> None:
    """The form carries that moment, so that its answer is about the same runs."""
    client = browser(shop.person)
    shop.trigger()
    page = page_of(client, shop.room("bulk/new?action=replay&period=1h"))
    fields = hidden(page)
    assert fields["period"] == ["1h"]
    assert len(fields["to"]) == 1
