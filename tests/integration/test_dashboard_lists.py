"""Lists of runs in numbers and in parts: counts, filters, searches, logs, and what htmx asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from runs import count_selectors
from runs.contracts import LogBatch, LogLine
from runs.count_selectors import STEPS, find_run_counts
from runs.run_filter import RunFilter
from runs.selectors import LOG_PAGE
from runs.services.logs import append_logs
from runs.states import ExecutionStatus, RunStatus
from tests.browsing import (
    REGION,
    TASK,
    Shop,
    browser,
    make_shop,
    page_of,
    put_in_region,
    put_in_state,
)

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

# As many runs as it takes, copied from one that was triggered; their ids are older than its own.
COPIES = """
INSERT INTO runs_taskrun SELECT (jsonb_populate_record(run, jsonb_build_object(
  'id', 'run_0' || lpad(number::text, 24, '0'), 'idempotency_key', null,
  'status', CASE WHEN number %% 4 = 0 THEN 'CRASHED' ELSE run.status END))).*
FROM runs_taskrun AS run, generate_series(1, %s) AS number WHERE run.id = %s
"""


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


def part_of(client: Client, path: str, target: str, **headers: str) -> Any:
    """Ask for a part of a page as its scripts do."""
    asked = {"HX-Request": "true", "HX-Target": target, **headers}
    return client.get(path, headers=asked, follow=True)


def write(run_id: str, attempt: int, *texts: str) -> None:
    """Let an attempt of a run write lines."""
    lines = [
        LogLine(seq=number, at=0, stream="stdout", level=None, text=text)
        for number, text in enumerate(texts, 1)
    ]
    append_logs(run_id=run_id, batch=LogBatch(attempt=attempt, lines=lines))


# -- counts ----------------------------------------------------------------------------------------


def test_counts_follow_the_filter(shop: Shop) -> None:
    """The first line counts what the filter matches, beyond the page; the states count the rest."""
    run_id = shop.trigger(tags=("blue",))
    shop.trigger("other")
    with connection.cursor() as cursor:
        cursor.execute(COPIES, [200, run_id])
    page = page_of(browser(shop.person), f"{shop.path()}?tag=blue")
    assert "<h1>201 runs tagged blue</h1>" in page
    assert 'Crashed <span class="count">50</span>' in page
    assert 'Queued <span class="count">151</span>' in page
    page = page_of(browser(shop.person), f"{shop.path()}?tag=blue&status=crashed")
    assert "<h1>50 crashed runs tagged blue</h1>" in page
    assert 'Queued <span class="count">151</span>' in page


def test_counting_is_bounded(shop: Shop) -> None:
    """Beyond the bound nothing is counted, and that is told."""
    run_id = shop.trigger()
    with connection.cursor() as cursor:
        cursor.execute(COPIES, [100, run_id])
    environment = shop.tenant.environments["prod"].id
    for most, total, is_complete in ((100, 101, False), (101, 101, True), (7, 8, False)):
        counts = find_run_counts(
            environment_ids=[environment], wanted=RunFilter(), now=datetime.now(UTC), most=most
        )
        assert counts is not None
        assert (counts.total, counts.is_complete) == (total, is_complete)


def test_a_list_without_its_counts_is_a_list(shop: Shop) -> None:
    """When counting takes too long, the rows are there all the same, and no number is made up."""
    shop.trigger()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runs_taskrun RENAME TO runs_taskrun_kept")
        cursor.execute(
            "CREATE VIEW runs_taskrun AS SELECT * FROM runs_taskrun_kept"
            f" WHERE current_setting('statement_timeout') <> '{count_selectors.TIMEOUT_MS}ms'"
            " OR pg_sleep(1) IS NOT NULL"
        )
    page = page_of(browser(shop.person), shop.path())
    assert "<h1>Runs</h1>" in page
    assert page.count('data-testid="run"') == 1
    assert 'data-testid="facets"' not in page
    assert f'hx-get="{shop.path()}?uncounted=1"' in page
    again = part_of(browser(shop.person), f"{shop.path()}?uncounted=1", "runs").content.decode()
    assert "<h1>Runs</h1>" in again
    with connection.cursor() as cursor:  # the bound was the count's alone
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_runs_are_counted_by_their_time(shop: Shop) -> None:
    """Every run is in one step between the first one and now; a filter in time narrows the list."""
    runs = [shop.trigger() for _ in range(3)]
    put_in_state(runs[0], RunStatus.CRASHED, ExecutionStatus.FINISHED)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_taskrun SET created_at = created_at - interval '1 hour' WHERE id = %s",
            [runs[0]],
        )
    environment, now = shop.tenant.environments["prod"].id, datetime.now(UTC)
    counts = find_run_counts(environment_ids=[environment], wanted=RunFilter(), now=now)
    assert counts is not None
    assert counts.since is not None
    assert counts.by_step == {(0, "CRASHED"): 1, (STEPS - 1, "PENDING"): 2}
    assert counts.until == now
    page = page_of(browser(shop.person), shop.path())
    assert page.count('class="bar-bad"') == 1
    later = (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert "No run matches" in page_of(browser(shop.person), f"{shop.path()}?from={later}")
    assert page_of(browser(shop.person), f"{shop.path()}?to={later}").count("data-row") == 3


# -- filters and searches --------------------------------------------------------------------------


def test_every_filter_narrows(shop: Shop) -> None:
    """Region, version, period and several values of one kind narrow as they read."""
    here, there = shop.trigger(), shop.trigger()
    put_in_region(there, "eu-central-1")
    client = browser(shop.person)
    cases = {
        f"region={REGION}": [here],
        "region=eu-central-1": [there],
        f"region={REGION}&region=eu-central-1": [there, here],
        "version=20200101.1": [],
        "period=1h": [there, here],
        "period=1h&region=eu-central-1&task=none": [],
        f"task={TASK}&task=other": [there, here],
    }
    for query, expected in cases.items():
        page = page_of(client, f"{shop.path()}?{query}")
        found = [part.partition('"')[0] for part in page.split('data-row="')[1:]]
        assert found == expected, query
    for query in ("period=soon", "period=1h&period=x", "status=odd"):
        page_of(client, f"{shop.path()}?{query}", status=400)


def test_the_region_filter_offers_geography_only(shop: Shop) -> None:
    """What the form offers are regions of container groups; no worker queue is among them."""
    page = page_of(browser(shop.person), shop.path())
    assert f"<option>{REGION}</option>" in page
    assert shop.worker_queue not in page
    assert "any region" not in page_of(browser(shop.person), shop.path(environment="dev"))


def test_a_search_leads_to_what_it_means(shop: Shop) -> None:
    """A run of any environment of the organization, a task, else a tag; never another tenant's."""
    staging, foreign = shop.trigger(environment="stg"), make_shop().trigger()
    client = browser(shop.person)
    cases = {
        staging: shop.path(staging, environment="stg"),
        TASK: f"{shop.path()}?task={TASK}",
        "blue sky": f"{shop.path()}?tag=blue+sky",
    }
    for text, expected in cases.items():
        answer = client.get(shop.path(), {"find": text})
        assert (answer.status_code, answer["Location"]) == (302, expected)
    page = client.get(shop.path(), {"find": foreign}).content.decode()
    assert f"There is no run {foreign}" in page


# -- parts -----------------------------------------------------------------------------------------


def test_a_part_is_the_page_without_its_frame(shop: Shop) -> None:
    """Scripts get the part they name, once; going back in the history gets the whole page."""
    run_id = shop.trigger()
    client = browser(shop.person)
    parts = {
        "runs": shop.path(),
        "list": shop.path(),
        "run-head": shop.path(run_id),
        "run-main": shop.path(f"{run_id}/payload"),
        "run-body": shop.path(f"{run_id}/snapshots"),
        "more-lines": shop.path(f"{run_id}/logs"),
    }
    for target, path in parts.items():
        part = part_of(client, path, target).content.decode()
        assert f'id="{target}"' in part
        assert "<html" not in part
        assert f'id="{target}"' in page_of(client, path)
        history = {"HX-History-Restore-Request": "true"}
        assert b"<html" in part_of(client, path, target, **history).content
        assert b"<html" in part_of(client, path, "elsewhere").content


def test_a_filtered_part_says_its_address(shop: Shop) -> None:
    """What a form sent empty is gone from the address that the window shows."""
    path = f"{shop.path()}?status=&task=other&tag=&period="
    answer = part_of(browser(shop.person), path, "list")
    assert answer["HX-Push-Url"] == f"{shop.path()}?task=other"


def test_parts_are_as_closed_as_pages(shop: Shop) -> None:
    """A stranger gets 404 for a part, and whoever is not logged in the login."""
    run_id = shop.trigger()
    stranger = browser(make_shop().person)
    for target, path in (("runs", shop.path()), ("run-head", shop.path(run_id))):
        assert part_of(stranger, path, target).status_code == 404
        assert part_of(browser(), path, target).redirect_chain[0][0].startswith("/login?next=")


def test_what_is_over_is_asked_for_no_more(shop: Shop) -> None:
    """A run that may change asks again; one that ended, and older pages of ended ones, do not."""
    run_id = shop.trigger()
    client = browser(shop.person)
    for path in (shop.path(), shop.path(run_id), shop.path(f"{run_id}/logs")):
        assert 'hx-trigger="every' in page_of(client, path)
    put_in_state(run_id, RunStatus.COMPLETED_SUCCESSFULLY, ExecutionStatus.FINISHED)
    for path in (shop.path(run_id), shop.path(f"{run_id}/logs"), f"{shop.path()}?after=run_z"):
        assert 'hx-trigger="every' not in page_of(client, path)


# -- logs ------------------------------------------------------------------------------------------


def test_a_log_grows_where_it_ends(shop: Shop) -> None:
    """Lines after the last one come without the earlier ones; an attempt is announced once."""
    run_id = shop.trigger()
    client, path = browser(shop.person), shop.path(f"{run_id}/logs")
    write(run_id, 1, "one", "two")
    assert page_of(client, path).count("Attempt 1</li>") == 1
    write(run_id, 1, "one", "two", "three")
    write(run_id, 2, "again")
    more = part_of(client, f"{path}?after=1.2", "more-lines").content.decode()
    assert "three" in more
    assert "two" not in more
    assert "Attempt 1</li>" not in more
    assert more.count("Attempt 2</li>") == 1
    assert "after=2.1" in more


def test_a_link_to_a_line_leads_to_a_page_that_has_it(shop: Shop) -> None:
    """Wherever a line is shown, its own address shows it again: later pages and found lines too."""
    run_id = shop.trigger()
    client, path = browser(shop.person), shop.path(f"{run_id}/logs")
    write(run_id, 1, *(f"line {number}" for number in range(1, LOG_PAGE + 300)))
    first = page_of(client, path)
    assert 'href="?#log-1-1"' in first
    assert "Next lines" in first
    second = page_of(client, f"{path}?after=1.{LOG_PAGE}")
    assert f'href="?after=1.{LOG_PAGE}#log-1-{LOG_PAGE + 7}"' in second
    found = page_of(client, f"{path}?q=LINE+{LOG_PAGE + 7}")
    assert found.count('class="at"') == 1
    link = found.partition('class="at" href="?')[2].partition("#")[0].replace("&amp;", "&")
    shown = page_of(client, f"{path}?{link}")
    assert f'id="log-1-{LOG_PAGE + 7}"' in shown
    assert f"line {LOG_PAGE + 6}" in shown


def test_a_log_can_be_searched_for_anything(shop: Shop) -> None:
    """What is searched is text, whatever it looks like; nothing found says so."""
    run_id = shop.trigger()
    client, path = browser(shop.person), shop.path(f"{run_id}/logs")
    write(run_id, 1, "100 % <b>bold</b>", "a_b", "axb")
    for text, count in (("%", 1), ("_", 1), ("<b>", 1), ("\x00", 3), ("nothing like it", 0)):
        page = client.get(path, {"q": text}).content.decode()
        assert page.count('class="at"') == count, text
        assert "<b>bold" not in page
    assert "No line contains" in client.get(path, {"q": "nothing like it"}).content.decode()


def test_a_whole_log_is_one_text(shop: Shop) -> None:
    """The plain text has every line of every attempt, and is no page."""
    run_id = shop.trigger()
    write(run_id, 1, *(f"line {number}" for number in range(LOG_PAGE + 20)))
    write(run_id, 2, "the end <b>")
    answer = browser(shop.person).get(shop.path(f"{run_id}/logs.txt"))
    lines = answer.getvalue().decode().splitlines()
    assert answer["Content-Type"].startswith("text/plain")
    assert len(lines) == LOG_PAGE + 21
    assert lines[-1].startswith("2 ")
    assert lines[-1].endswith("the end <b>")


def test_a_head_that_is_asked_for_alone_sets_the_title(shop: Shop) -> None:
    """The window's title says the state of this moment, and a head of what is over stays as it is."""
    run_id = shop.trigger()
    put_in_state(run_id, RunStatus.COMPLETED_SUCCESSFULLY, ExecutionStatus.FINISHED)
    head = part_of(browser(shop.person), shop.path(run_id), "run-head").content.decode()
    assert head.startswith("<title>Completed · ")
    assert "data-live" not in head
