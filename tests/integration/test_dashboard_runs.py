"""The pages of runs: what they show, to whom, and what their buttons do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.selectors import get_any_run
from runs.states import FINAL, ExecutionStatus, RunStatus
from tests.browsing import (
    REGION,
    TASK,
    Shop,
    browser,
    make_shop,
    page_of,
    put_in_region,
    put_in_state,
    submit,
)
from tests.factories import make_person
from webapp.dashboard.run_list import PAGE_SIZE
from webapp.dashboard.words import STATUS_WORDS

pytestmark = pytest.mark.django_db

ERROR = {
    "type": "BUILT_IN_ERROR",
    "name": "ConnectionError",
    "message": "not <lucky>",
    "stackTrace": "Traceback (most recent call last):\n  File tasks.py, line 7",
}
FAILED_ONCE = {"ok": False, "error": ERROR, "retry": {"timestamp": 0, "delay": 0}}
SUCCEEDED = {"ok": True, "output": '{"sum":[1,2]}', "outputType": "application/json"}

TABS = ("", "/payload", "/logs", "/logs.txt", "/snapshots")
EXECUTIONS = {
    **dict.fromkeys(RunStatus, ExecutionStatus.EXECUTING),
    **dict.fromkeys(FINAL, ExecutionStatus.FINISHED),
    RunStatus.PENDING: ExecutionStatus.QUEUED,
    RunStatus.DELAYED: ExecutionStatus.DELAYED,
    RunStatus.PENDING_VERSION: ExecutionStatus.RUN_CREATED,
    RunStatus.DEQUEUED: ExecutionStatus.PENDING_EXECUTING,
    RunStatus.WAITING_TO_RESUME: ExecutionStatus.SUSPENDED,
}


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


def test_every_state_has_its_word_on_both_pages(shop: Shop) -> None:
    """A run is shown in each state it can have, as a word."""
    runs = {status: shop.trigger() for status in RunStatus}
    for status, run_id in runs.items():
        put_in_state(run_id, status, EXECUTIONS[status])
    client = browser(shop.person)
    page = page_of(client, shop.path())
    for status, run_id in runs.items():
        word = STATUS_WORDS[status].text
        assert f"</span>{word}</span>" in page
        assert f"<title>{word} · " in page_of(client, shop.path(run_id))


def test_a_run_that_is_being_canceled_says_so(shop: Shop) -> None:
    """A canceled run whose workload has not stopped is not shown as over."""
    run_id = shop.trigger()
    put_in_state(run_id, RunStatus.CANCELED, ExecutionStatus.PENDING_CANCEL)
    assert "Canceling" in page_of(browser(shop.person), shop.path(run_id))


def test_a_run_says_what_happened(shop: Shop) -> None:
    """The page has the payload, the output, each attempt, and the sentence with the region."""
    shop.trigger(payload='{"name":"<Ada>"}', tags=("blue",))
    run_id = shop.execute(FAILED_ONCE, SUCCEEDED)
    page = page_of(browser(shop.person), shop.path(run_id))
    assert "Run completed on attempt 2 in" in page
    assert f"in {REGION}</h1>" in page
    assert "Attempt 1" in page
    assert "failed, to be retried" in page
    assert "Attempt 2" in page
    assert f"{shop.path()}?tag=blue" in page
    assert 'data-testid="error"' not in page
    packets = page_of(browser(shop.person), shop.path(f"{run_id}/payload"))
    assert "&lt;Ada&gt;" in packets
    assert "&quot;sum&quot;: [" in packets
    raw = page_of(browser(shop.person), shop.path(f"{run_id}/payload?view=raw"))
    assert "{&quot;sum&quot;:[1,2]}" in raw


def test_an_error_comes_with_its_traceback(shop: Shop) -> None:
    """A failed run shows the error's name, message and traceback, as text."""
    shop.trigger()
    run_id = shop.execute({"ok": False, "error": ERROR})
    page = page_of(browser(shop.person), shop.path(run_id))
    assert "Run failed after" in page
    assert "ConnectionError" in page
    assert "not &lt;lucky&gt;" in page
    assert "File tasks.py, line 7" in page


def test_only_staff_read_where_a_run_is_and_why(shop: Shop) -> None:
    """No customer's page has the name of a worker queue, of a supervisor, or the reason."""
    shop.trigger()
    run_id = shop.execute(SUCCEEDED)
    hidden = (shop.worker_queue, "global_off", "supervisor-of-tests", 'data-testid="placement"')
    customer, staff = browser(shop.person), browser(make_person(is_staff=True))
    rooms = ("regions", "keys", "members", "settings")
    paths = [shop.room(room) for room in rooms]
    paths += [shop.path(), *(shop.path(f"{run_id}{tab}") for tab in TABS)]
    for path in paths:
        page = page_of(customer, path)
        assert [word for word in hidden if word in page] == [], path
    shown = page_of(staff, shop.path(f"{run_id}/snapshots"))
    assert not [word for word in hidden if word not in shown]


def test_the_filters_narrow_the_list_and_can_be_taken_off(shop: Shop) -> None:
    """Status, task and tag are kept in the address; each is shown with an address without it."""
    shop.trigger(tags=("blue",))
    shop.trigger("other", tags=("red",))
    client = browser(shop.person)
    page = page_of(client, f"{shop.path()}?task=other&tag=red")
    assert page.count('data-testid="run"') == 1
    assert "<h1>1 run of other tagged red</h1>" in page
    assert 'href="?tag=red"' in page
    assert 'href="?task=other"' in page
    assert 'href="?status=waiting-for-a-version&amp;task=other&amp;tag=red"' in page
    assert page.count('data-testid="chip"') == 2
    assert "No run matches" in page_of(client, f"{shop.path()}?status=failed")
    assert "there is no" in page_of(client, f"{shop.path()}?status=odd", status=400)


def test_what_a_form_left_empty_leaves_the_address(shop: Shop) -> None:
    """An address keeps only the filters that say something."""
    answer = browser(shop.person).get(f"{shop.path()}?status=&task=other&tag=")
    assert (answer.status_code, answer["Location"]) == (302, f"{shop.path()}?task=other")


def test_pages_go_both_ways(shop: Shop) -> None:
    """The list is cut into pages, newest first, and leads to the older ones and back."""
    ids = [shop.trigger() for _ in range(PAGE_SIZE + 2)][::-1]
    client = browser(shop.person)
    first = page_of(client, shop.path())
    assert first.count('data-testid="run"') == PAGE_SIZE
    second = page_of(client, f"{shop.path()}?after={ids[PAGE_SIZE - 1]}")
    assert f"?after={ids[PAGE_SIZE - 1]}" in first
    assert second.count('data-testid="run"') == 2
    assert f"?before={ids[PAGE_SIZE]}" in second
    again = page_of(client, f"{shop.path()}?before={ids[PAGE_SIZE]}")
    assert again.count('data-testid="run"') == PAGE_SIZE


def test_an_empty_list_says_how_to_fill_it(shop: Shop) -> None:
    """An environment without runs shows the command that makes one."""
    client = browser(shop.person)
    assert f"crossfade trigger {TASK} --payload" in page_of(client, shop.path())
    assert "crossfade deploy" in page_of(client, shop.path(environment="stg"))
    assert "crossfade dev" in page_of(client, shop.path(environment="dev"))


def test_a_run_is_found_by_its_id(shop: Shop) -> None:
    """The search leads to the run, or says that there is none."""
    run_id = shop.trigger()
    client = browser(shop.person)
    found = client.get(f"{shop.path()}?find={run_id}")
    assert (found.status_code, found["Location"]) == (302, shop.path(run_id))
    assert "There is no run run_nothing" in page_of(client, f"{shop.path()}?find=run_nothing")


def test_cancel_ends_a_run(shop: Shop) -> None:
    """The button cancels, answers 303 to the run's page, and is gone afterwards."""
    run_id = shop.trigger()
    client = browser(shop.person)
    answer = submit(client, shop.path(f"{run_id}/cancel"))
    assert (answer.status_code, answer["Location"]) == (303, shop.path(run_id))
    assert get_any_run(run_id).status == RunStatus.CANCELED
    page = page_of(client, shop.path(run_id))
    assert "Cancel was requested." in page
    assert "Cancel this run" not in page
    assert submit(client, shop.path(f"{run_id}/cancel")).status_code == 303
    assert "was over already" in page_of(client, shop.path(run_id))


def test_replay_makes_a_run_like_it(shop: Shop) -> None:
    """The button triggers a new run with the same payload and leads to it."""
    run_id = shop.trigger(payload='"once"')
    client = browser(shop.person)
    answer = submit(client, shop.path(f"{run_id}/replay"))
    made = get_any_run(answer["Location"].rpartition("/")[2])
    assert answer.status_code == 303
    assert (made.payload, made.replay_of_id) == ('"once"', run_id)
    assert (made.trigger_source, made.region) == ("dashboard", REGION)
    assert run_id in page_of(client, answer["Location"])


def test_a_replay_that_is_refused_says_why(shop: Shop) -> None:
    """A run whose region is gone stays as it is, and the page says why."""
    run_id = shop.trigger()
    put_in_region(run_id, "atlantis")
    client = browser(shop.person)
    answer = submit(client, shop.path(f"{run_id}/replay"))
    assert answer["Location"] == shop.path(run_id)
    assert "was not replayed" in page_of(client, shop.path(run_id))


def test_a_form_without_its_token_does_nothing(shop: Shop) -> None:
    """A POST from elsewhere is refused with a page that says nothing was changed."""
    run_id = shop.trigger()
    client = browser(shop.person)
    for action in ("cancel", "replay"):
        answer = client.post(shop.path(f"{run_id}/{action}"))
        assert answer.status_code == 403
        assert b"nothing was changed" in answer.content
    assert get_any_run(run_id).status == RunStatus.PENDING


def test_a_payload_too_large_to_read_is_cut(shop: Shop) -> None:
    """A page stays readable however large the payload is, and says where all of it is."""
    run_id = shop.trigger(payload='"' + "x" * 600_000 + '"')
    page = page_of(browser(shop.person), shop.path(f"{run_id}/payload"))
    assert len(page) < 130_000
    assert f"GET /api/v3/runs/{run_id}" in page


def test_a_delayed_run_says_when_it_starts(shop: Shop) -> None:
    """A run with a delay names the time that is left."""
    later = datetime.now(UTC) + timedelta(hours=3, minutes=2)
    run_id = shop.trigger(delay_until=later)
    assert "Run starts in 3 h " in page_of(browser(shop.person), shop.path(run_id))
