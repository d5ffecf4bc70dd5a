"""`Client`: what a program sees of answers, refusals, pages and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crossfade import ApiError, Client, NotJson, task
from crossfade.client.errors import ConnectionFailed, MissingCredential, WaitTimedOut
from crossfade.client.retry import RetryPolicy
from tests.fake_rest_api import PROD_KEY, FakePlatform, serving_rest

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = RetryPolicy(attempts=5, first_wait_s=0.001)


@pytest.fixture
def platform() -> FakePlatform:
    """Give a platform that knows nothing yet."""
    return FakePlatform()


@pytest.fixture
def client(platform: FakePlatform) -> Iterator[Client]:
    """Give a client of that platform."""
    with serving_rest(platform) as url, Client(url, PROD_KEY, retries=QUICK) as made:
        yield made


def test_trigger_wait_and_read(client: Client, platform: FakePlatform) -> None:
    """A run is triggered, waited for and read, with its fields by name."""
    platform.statuses_to_come["run_1"] = ["EXECUTING", "COMPLETED"]
    platform.outputs["run_1"] = {"n": 1}
    triggered = client.trigger("hello", {"a": 1}, tags=["x"], metadata={"m": 1})
    run = client.wait(triggered.id, poll_s=0.001)
    assert (run.status, run.is_success, run.output, run.task_id) == (
        "COMPLETED", True, {"n": 1}, "hello",
    )  # fmt: skip
    assert platform.runs["run_1"]["options"]["tags"] == ["x"]


def test_every_try_of_a_call_carries_one_key(client: Client, platform: FakePlatform) -> None:
    """Repeats share a key, the next call has another: a lost answer makes no second run."""
    platform.faults["trigger"] = ["lose_answer", 503, 429, 409]
    client.trigger("hello")
    client.trigger("hello")
    keys = [headers["x-trigger-request-idempotency-key"] for headers in platform.headers]
    assert (len(keys), len(set(keys[:5])), len(set(keys)), len(platform.runs)) == (6, 1, 2, 2)


def test_five_tries_are_the_most(client: Client, platform: FakePlatform) -> None:
    """After the fifth try the error of the last one is raised."""
    platform.faults["trigger"] = [500] * 9
    with pytest.raises(ApiError, match="HTTP 500: scripted 500"):
        client.trigger("hello")
    assert platform.calls["trigger"] == 5


def test_the_servers_word_on_repeats_wins(client: Client, platform: FakePlatform) -> None:
    """x-should-retry: false ends a call that would be repeated."""
    platform.faults["trigger"] = [500]
    platform.fault_headers = {"x-should-retry": "false"}
    with pytest.raises(ApiError) as raised:
        client.trigger("hello")
    assert (raised.value.status, platform.calls["trigger"]) == (500, 1)


def test_a_refusal_carries_the_servers_text(client: Client) -> None:
    """The status and the server's own words are attributes of the error."""
    with pytest.raises(ApiError) as raised:
        client.retrieve("run_9")
    assert (raised.value.status, raised.value.error) == (404, "Not found")
    assert raised.value.request == "GET /api/v3/runs/run_9"


def test_pages_are_followed(client: Client) -> None:
    """A listing goes on to the last page, newest first, and no further."""
    made = [client.trigger("t", number).id for number in range(7)]
    assert [run.id for run in client.list(page_size=3)] == made[::-1]
    assert [run.id for run in client.list(status=["FAILED"], page_size=3)] == []


def test_a_wait_may_end_before_the_run(client: Client) -> None:
    """The time given to a wait is kept, and the error names the status."""
    triggered = client.trigger("t")
    with pytest.raises(WaitTimedOut, match=f"{triggered.id} is QUEUED"):
        client.wait(triggered.id, timeout_s=0.01, poll_s=0.005)


def test_what_is_no_json_is_not_sent(client: Client, platform: FakePlatform) -> None:
    """A payload that is not JSON fails here, by its path."""
    with pytest.raises(NotJson, match=r"payload\.x\[1\] is a set"):
        client.trigger("t", {"x": [1, {2}]})
    assert platform.asked == []


def test_an_unknown_option_is_an_error(client: Client) -> None:
    """A misspelt option does not vanish."""
    with pytest.raises(TypeError, match="tag is no option of a trigger"):
        client.trigger("t", None, tag="x")  # type: ignore[call-arg]


def test_the_key_goes_to_the_platform_only(client: Client, platform: FakePlatform) -> None:
    """An upload URL on another host gets the bytes and not the key."""
    elsewhere = FakePlatform()
    with serving_rest(elsewhere) as url, pytest.raises(ApiError, match="401"):
        client.transport.upload(f"{url}/uploads/x", b"data")
    [headers] = elsewhere.headers
    assert "authorization" not in headers


def test_a_missing_key_and_a_missing_server() -> None:
    """Both are errors with names."""
    with pytest.raises(MissingCredential, match="TRIGGER_SECRET_KEY"):
        Client("http://127.0.0.1:1", "")
    with (
        Client("http://127.0.0.1:1", PROD_KEY, retries=QUICK) as client,
        pytest.raises(ConnectionFailed, match="refused"),
    ):
        client.whoami()


def test_a_task_triggers_itself(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.trigger()` uses the process's own environment."""
    from crossfade.client.from_environment import shared_client

    @task(id="later")
    def later(payload: object) -> object:
        return payload

    with serving_rest(platform) as url:
        monkeypatch.setenv("TRIGGER_API_URL", url)
        monkeypatch.setenv("TRIGGER_SECRET_KEY", PROD_KEY)
        shared_client.cache_clear()
        triggered = later.trigger({"a": 1})
        shared_client().transport.close()
        shared_client.cache_clear()
    assert platform.runs[triggered.id]["taskIdentifier"] == "later"
