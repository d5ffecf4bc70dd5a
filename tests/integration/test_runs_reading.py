"""Reading runs: lists and their pages, one run, its result, tags, logs, and running it again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from runs.calls import MAX_METADATA_BYTES, TriggerCall
from runs.contracts import LogBatch
from runs.services.cancellation import cancel_run
from runs.services.logs import MAX_LINES, append_logs
from runs.services.trigger import trigger_run
from tests.api_client import json_of
from tests.running import (
    REGION,
    Supervisor,
    World,
    change,
    executing,
    failed,
    internal,
    make_version,
    make_world,
    race,
    rows_of,
    run_of,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.django_db

MODERN = {"x-trigger-api-version": "2025-07-16"}


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def page(world: World, **query: str) -> Any:
    """Give a page of the list; the names are those of the brackets."""
    named = {"size": "page[size]", "after": "page[after]", "before": "page[before]"}
    pairs = {named.get(name, f"filter[{name}]"): value for name, value in query.items()}
    path = f"/api/v1/runs?{urlencode(pairs)}"
    return json_of(world.api.send("GET", path, headers=MODERN))


def ids(answer: Any) -> list[str]:
    """Give the runs of a page."""
    return [run["id"] for run in answer["data"]]


def trigger_at(world: World, at: datetime) -> str:
    """Trigger at a moment."""
    return trigger_run(world.caller, TriggerCall(task="hello"), now=at).run_id


class TestList:
    """Pages and filters."""

    def test_pages_go_both_ways(self, world: World) -> None:
        """Newest first; `next` ends with the oldest, `previous` is missing on the first page."""
        runs = [world.trigger() for _ in range(5)][::-1]
        first = page(world, size="2")
        assert (ids(first), set(first["pagination"])) == (runs[:2], {"next"})
        second = page(world, size="2", after=first["pagination"]["next"])
        assert (ids(second), set(second["pagination"])) == (runs[2:4], {"next", "previous"})
        third = page(world, size="2", after=second["pagination"]["next"])
        assert (ids(third), set(third["pagination"])) == (runs[4:], {"previous"})
        back = page(world, size="2", before=third["pagination"]["previous"])
        assert (ids(back), set(back["pagination"])) == (runs[2:4], {"next", "previous"})
        start = page(world, size="2", before=back["pagination"]["previous"])
        assert (ids(start), set(start["pagination"])) == (runs[:2], {"next"})

    def test_back_wins_over_on(self, world: World) -> None:
        """A client that pages back still sends the cursor it went on with."""
        runs = [world.trigger() for _ in range(4)][::-1]
        assert ids(page(world, size="1", after=runs[0], before=runs[3])) == [runs[2]]

    def test_an_empty_page_has_no_cursor(self, world: World) -> None:
        """Nothing before the first run, nothing after the last."""
        run_id = world.trigger()
        for cursor in ({"before": run_id}, {"after": run_id}):
            assert page(world, **cursor) == {"data": [], "pagination": {}}

    def test_a_list_is_one_environments(self, world: World) -> None:
        """Neither another tenant's nor another environment's runs are in it."""
        own = world.trigger()
        make_world().trigger()
        world.in_environment(world.tenant, "stg").trigger()
        (item,) = page(world)["data"]
        assert (item["id"], item["env"]) == (own, {"id": world.environment_id, "name": "prod"})

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"status": "QUEUED"}, {"tagged", "queued", "tested"}),
            ({"status": "PENDING_VERSION,CANCELED"}, {"unknown", "canceled"}),
            ({"taskIdentifier": "other"}, {"unknown"}),
            ({"taskIdentifier": "other,hello", "tag": "a"}, {"tagged"}),
            ({"tag": "b,c"}, {"tagged"}),
            ({"tag": "b,c", "status": "CANCELED"}, set()),
            ({"queue": "q"}, {"queued"}),
            ({"queue": "task/other"}, {"unknown"}),
            ({"region": REGION}, {"tagged", "queued", "tested", "unknown", "canceled"}),
            ({"region": "nowhere"}, set()),
            ({"isTest": "true"}, {"tested"}),
            ({"machine": "micro"}, {"queued"}),
            ({"version": "20200101.1"}, set()),
            ({"createdAt][period": "1h"}, {"tagged", "queued", "tested", "unknown", "canceled"}),
            ({"createdAt][to": "1700000000000"}, set()),
        ],
    )
    def test_filters_find_what_they_name(
        self, world: World, query: Mapping[str, str], found: set[str]
    ) -> None:
        """Values of one filter are alternatives, filters hold together."""
        runs = {
            "tagged": world.trigger(tags=("a", "b")),
            "queued": world.trigger(queue="q", machine="micro"),
            "tested": world.trigger(is_test=True),
            "unknown": world.trigger("other"),
            "canceled": world.trigger(),
        }
        cancel_run(environment_id=world.environment_id, run_id=runs["canceled"])
        names = {run_id: name for name, run_id in runs.items()}
        assert {names[run_id] for run_id in ids(page(world, **query))} == found

    def test_a_version_is_found_once_it_is_known(self, world: World) -> None:
        """From the lease on a run has its version."""
        run_id, _ = executing(world)
        assert ids(page(world, version=run_of(run_id).version or "")) == [run_id]

    def test_creation_times_are_included(self, world: World) -> None:
        """`from` and `to` find the run of exactly that millisecond, as epoch and as ISO."""
        at = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
        before, exact, after = (
            trigger_at(world, at + timedelta(milliseconds=ms)) for ms in (-1, 0, 1)
        )
        ms = str(int(at.timestamp() * 1000))
        assert ids(page(world, **{"createdAt][from": ms, "createdAt][to": ms})) == [exact]
        iso = at.isoformat().replace("+00:00", "Z")
        assert ids(page(world, **{"createdAt][from": iso})) == [after, exact]
        assert ids(page(world, **{"createdAt][to": iso})) == [exact, before]

    @pytest.mark.parametrize("cursor", ["x", "run_", "\x00", "'; drop", "\udcff", "9" * 5000])
    def test_any_cursor_is_answered(self, world: World, cursor: str) -> None:
        """A made-up cursor is a page or a 400, never a failure."""
        world.trigger()
        path = f"/api/v1/runs?{urlencode({'page[after]': cursor.encode(errors='surrogateescape')})}"
        assert world.api.get(path).status_code in {200, 400}

    def test_wrong_filters_are_named(self, world: World) -> None:
        """400 with every wrong key."""
        answer = json_of(world.api.get("/api/v1/runs?filter[status]=X&page[size]=0"), 400)
        assert [one["key"] for one in answer["problems"]] == ["filter[status]", "page[size]"]

    def test_a_list_costs_one_query(self, world: World, django_assert_num_queries: Any) -> None:
        """However many runs it shows."""
        for _ in range(30):
            world.trigger(tags=("a",), metadata='{"a":1}')
        with django_assert_num_queries(1):
            assert len(page(world, size="30")["data"]) == 30


class TestOne:
    """One run."""

    def test_an_unknown_run_may_be_asked_for_again(self, world: World) -> None:
        """404 with the word to try again, also for another tenant's run: both look alike."""
        theirs = make_world().trigger()
        for run_id in (theirs, "run_nothing", "x"):
            answer = world.api.get(f"/api/v3/runs/{run_id}")
            assert json_of(answer, 404) == {"error": "Not found"}
            assert answer["x-should-retry"] == "true"

    def test_no_key_is_null(self, world: World) -> None:
        """At every station of a run unset keys are left out."""
        run_id = world.trigger()
        stations = [world.api.get(f"/api/v3/runs/{run_id}").content]
        message = world.lease_one()
        stations.append(world.api.get(f"/api/v3/runs/{run_id}").content)
        snapshot = world.start(run_id, message.snapshot.friendlyId)
        world.complete(run_id, snapshot, failed(run_id, delay_ms=None))
        stations.append(world.api.get(f"/api/v3/runs/{run_id}").content)
        stations.append(world.api.get("/api/v1/runs").content)
        assert not [one for one in stations if b"null" in one]

    def test_a_payload_of_null_is_null(self, world: World) -> None:
        """What the caller sent is not what is unset."""
        run_id = world.trigger(payload="null")
        assert json_of(world.api.get(f"/api/v3/runs/{run_id}"))["payload"] is None

    def test_customers_read_no_queue_name(self, world: World) -> None:
        """Neither worker queue nor placement are shown, only geography."""
        run_id = world.trigger()
        for path in (f"/api/v3/runs/{run_id}", "/api/v1/runs"):
            text = world.api.get(path).content.decode()
            assert world.queue not in text
            assert "not_enrolled" not in text
            assert REGION in text


class TestResult:
    """What a run came to."""

    def test_a_result_is_there_when_the_run_is_over(self, world: World) -> None:
        """404 before; then the output as text with its type."""
        run_id, snapshot = executing(world)
        path = f"/api/v1/runs/{run_id}/result"
        json_of(world.api.get(path), 404)
        world.complete(run_id, snapshot)
        assert json_of(world.api.get(path)) == {
            "ok": True,
            "id": run_id,
            "taskIdentifier": "hello",
            "output": '"done"',
            "outputType": "application/json",
        }
        json_of(make_world().api.get(path), 404)

    def test_a_failure_is_told_by_its_error(self, world: World) -> None:
        """The error as the worker sent it; a canceled run has one as well."""
        run_id, snapshot = executing(world)
        world.complete(run_id, snapshot, internal(run_id, "TASK_INPUT_ERROR"))
        answer = json_of(world.api.get(f"/api/v1/runs/{run_id}/result"))
        assert (answer["ok"], answer["error"]["code"]) == (False, "TASK_INPUT_ERROR")
        canceled = world.trigger()
        cancel_run(environment_id=world.environment_id, run_id=canceled)
        answer = json_of(world.api.get(f"/api/v1/runs/{canceled}/result"))
        assert (answer["ok"], answer["error"]["code"]) == (False, "TASK_RUN_CANCELED")


class TestTags:
    """Tags of a run."""

    def test_new_tags_are_added(self, world: World) -> None:
        """Those it has are not added again; a bare string is one tag; the answer counts."""
        run_id = world.trigger(tags=("a",))
        path = f"/api/v1/runs/{run_id}/tags"
        say = "Successfully set {} new tags."
        for given, said in (
            (["a", "b", "c", "b"], say.format(2)),
            ("d", say.format(1)),
            (["a", "d"], "No new tags to add"),
            ([" "], "No new tags to add"),
        ):
            assert json_of(world.api.post(path, {"tags": given})) == {"message": said}
        assert json_of(world.api.get(f"/api/v3/runs/{run_id}"))["tags"] == ["a", "b", "c", "d"]

    def test_more_than_ten_are_refused_whole(self, world: World) -> None:
        """Nothing is added then, neither to a run nor by a trigger."""
        run_id = world.trigger(tags=tuple("abcdefgh"))
        path = f"/api/v1/runs/{run_id}/tags"
        assert "tags" in json_of(world.api.post(path, {"tags": ["x", "y", "z"]}), 422)["error"]
        assert len(run_of(run_id).tags) == 8
        json_of(world.api.post(path, {"tags": ["x", "y"]}))
        body = {"options": {"tags": [str(n) for n in range(11)]}}
        refused = json_of(world.api.post("/api/v1/tasks/hello/trigger", body), 422)
        assert "tags" in refused["error"]
        assert rows_of("SELECT count(*) FROM runs_taskrun") == [(1,)]

    @pytest.mark.parametrize("wrong", [None, 5, ["x" * 129], [5], ["\x00"], ["x"] * 101])
    def test_wrong_tags_are_named(self, world: World, wrong: Any) -> None:
        """400 that names the field."""
        run_id = world.trigger()
        answer = json_of(world.api.post(f"/api/v1/runs/{run_id}/tags", {"tags": wrong}), 400)
        assert answer["error"].startswith("tags")

    def test_another_tenants_run_is_unknown(self, world: World) -> None:
        """404, and nothing is added."""
        run_id = world.trigger()
        path = f"/api/v1/runs/{run_id}/tags"
        json_of(make_world().api.post(path, {"tags": "a"}), 404)
        assert run_of(run_id).tags == []

    @pytest.mark.django_db(transaction=True)
    def test_tags_added_at_the_same_moment_are_all_there(self, redis_url: str) -> None:
        """Eight callers add one each; of four more, two find no room."""
        world = make_world()
        run_id, api = world.trigger(), world.api
        path = f"/api/v1/runs/{run_id}/tags"
        answers = race(12, lambda n: world.api.post(path, {"tags": str(n)}).status_code)
        assert (answers.count(200), answers.count(422)) == (10, 2)
        assert len(json_of(api.get(f"/api/v3/runs/{run_id}"))["tags"]) == 10


class TestReplay:
    """Running a run again."""

    def test_what_the_run_was_given_is_given_again(self, world: World) -> None:
        """Payload, first metadata, tags, queue, key, machine, test; not keys, delay, ttl, attempts."""
        first = world.trigger(
            payload='{"a":1}',
            metadata='{"k":1}',
            tags=("a",),
            queue="q",
            concurrency_key="c",
            machine="micro",
            is_test=True,
            idempotency_key="i",
            ttl_s=60,
            priority_ms=1000,
            max_attempts=1,
        )
        change("UPDATE runs_taskrun SET metadata = '{\"k\":2}' WHERE id = %s", first)
        made = json_of(world.api.send("POST", f"/api/v1/runs/{first}/replay", raw=b""))["id"]
        old, new = run_of(first), run_of(made)
        for name in (
            "payload",
            "seed_metadata",
            "tags",
            "queue_name",
            "concurrency_key",
            "machine",
        ):
            assert getattr(new, name) == getattr(old, name), name
        assert (new.metadata, new.is_test, new.replay_of_id) == ('{"k":1}', True, first)
        assert (new.idempotency_key, new.ttl_s, new.priority_ms, new.max_attempts) == (
            None,
            None,
            0,
            None,
        )

    def test_a_replay_uses_the_version_of_today(self, world: World) -> None:
        """Whatever the run was locked to, and whichever state it is in."""
        run_id, _ = executing(world)
        version = make_version(world.tenant, task("hello"))
        json_of(world.api.post(f"/api/v1/runs/{run_id}/replay", {}))
        assert world.lease_one().backgroundWorker.version == version

    def test_a_replay_may_go_elsewhere(self, world: World) -> None:
        """A named region counts, a refused one is 422, a wrong body 400, another's run 404."""
        run_id = world.trigger()
        path = f"/api/v1/runs/{run_id}/replay"
        json_of(world.api.post(path, {"region": REGION}))
        json_of(world.api.post(path, {"region": "nowhere"}), 422)
        json_of(world.api.post(path, {"region": 5}), 400)
        json_of(world.api.post(path, []), 400)
        json_of(make_world().api.post(path, {}), 404)

    def test_a_lease_of_a_replay_says_so(self, world: World) -> None:
        """Runners know that it is one."""
        run_id = world.trigger()
        cancel_run(environment_id=world.environment_id, run_id=run_id)
        json_of(world.api.post(f"/api/v1/runs/{run_id}/replay", {}))
        assert world.lease_one().run.isReplay


def lines(*numbers: int, attempt: int = 1) -> LogBatch:
    """Give a batch of lines with these numbers."""
    found = [{"seq": n, "at": 0, "stream": "stdout", "text": f"line {n}"} for n in numbers]
    return LogBatch.model_validate({"attempt": attempt, "lines": found})


class TestLogs:
    """What attempts write."""

    def test_lines_are_read_in_order_whatever_order_they_came_in(self, world: World) -> None:
        """A line sent again is there once, with its first text."""
        run_id, _ = executing(world)
        sent = [
            (lines(2, 3), 2),
            (lines(1, 2, 3), 1),
            (lines(1, attempt=2), 1),
            (lines(3, 3), 0),
            (lines(), 0),
        ]
        for batch, stored in sent:
            assert append_logs(run_id=run_id, batch=batch) == stored
        answer = json_of(world.api.get(f"/api/v1/runs/{run_id}/logs"))
        assert [(line["attempt"], line["seq"]) for line in answer["data"]] == [
            (1, 1),
            (1, 2),
            (1, 3),
            (2, 1),
        ]
        assert answer["pagination"] == {}
        second = json_of(world.api.get(f"/api/v1/runs/{run_id}/logs?attempt=2"))
        assert [line["text"] for line in second["data"]] == ["line 1"]

    def test_pages_follow_each_other(self, world: World) -> None:
        """Five hundred lines a page; the cursor goes over attempts."""
        run_id, _ = executing(world)
        append_logs(run_id=run_id, batch=lines(*range(499)))
        append_logs(run_id=run_id, batch=lines(0, 1, attempt=2))
        path = f"/api/v1/runs/{run_id}/logs"
        first = json_of(world.api.get(path))
        rest = json_of(world.api.get(f"{path}?page[after]={first['pagination']['next']}"))
        assert (len(first["data"]), len(rest["data"]), rest["pagination"]) == (500, 1, {})

    def test_the_limit_is_exact_and_the_cut_is_marked_once(self, world: World) -> None:
        """Lines that are there already take no room from new ones; the last place is the mark's."""
        run_id, _ = executing(world)
        change(
            "INSERT INTO runs_runlog (run_id, attempt, seq, at, stream, text)"
            " SELECT %s, 1, n, now(), 'stdout', 'x' FROM generate_series(1, %s) n",
            run_id,
            MAX_LINES - 3,
        )
        last = MAX_LINES - 3
        repeated = lines(*range(last - 9, last + 3))  # ten old, two new
        assert append_logs(run_id=run_id, batch=repeated) == 2
        assert append_logs(run_id=run_id, batch=repeated) == 0
        assert append_logs(run_id=run_id, batch=lines(last + 3, last + 4)) == 1
        assert append_logs(run_id=run_id, batch=lines(last + 5, attempt=2)) == 0
        assert rows_of("SELECT count(*) FROM runs_runlog") == [(MAX_LINES,)]
        assert rows_of("SELECT seq, stream FROM runs_runlog WHERE text LIKE '%%cut%%'") == [
            (last + 3, "log")
        ]

    @pytest.mark.django_db(transaction=True)
    def test_batches_at_the_same_moment_keep_the_limit(self, redis_url: str) -> None:
        """The same batch from many senders is stored once."""
        world = make_world()
        run_id, _ = executing(world)
        stored = race(6, lambda _: append_logs(run_id=run_id, batch=lines(*range(50))))
        assert sum(stored) == 50

    def test_a_supervisor_sends_them(self, world: World) -> None:
        """Over the worker API; NUL and surrogates are replaced, wrong lines are 400."""
        run_id, _ = executing(world)
        line = {"seq": 1, "at": 1e15, "stream": "stderr", "level": "error", "text": "a\x00b\ud800"}
        act = Supervisor(world).act
        assert json_of(act(f"runs/{run_id}/logs", {"attempt": 1, "lines": [line]})) == {"ok": True}
        (shown,) = json_of(world.api.get(f"/api/v1/runs/{run_id}/logs"))["data"]
        assert (shown["text"], shown["level"]) == ("a\ufffdb\ufffd", "error")
        for wrong in ({"seq": -1}, {"seq": 2**40}, {"at": "now"}, {"stream": "x"}, {"text": None}):
            json_of(act(f"runs/{run_id}/logs", {"attempt": 1, "lines": [line | wrong]}), 400)
        raw = b'{"attempt":1,"lines":[{"seq":2,"at":1e999,"stream":"log","text":"x"}]}'
        json_of(
            Supervisor(world).send("POST", f"/engine/v1/worker-actions/runs/{run_id}/logs", raw=raw)
        )
        assert act(f"runs/{run_id}/logs/debug", {"message": "x"}).status_code == 204

    def test_queries_are_checked(self, world: World) -> None:
        """A wrong attempt is 400, an unknown one and a made-up cursor are empty or all."""
        run_id, _ = executing(world)
        path = f"/api/v1/runs/{run_id}/logs"
        for wrong in ("x", "-1", "\u0661", ""):
            json_of(world.api.get(f"{path}?attempt={wrong}"), 400)
        for odd in (
            "attempt=99999999999999",
            "page[after]=x",
            "page[after]=1.99999999999999999999",
        ):
            assert json_of(world.api.get(f"{path}?{odd}"))["data"] == []
        json_of(make_world().api.get(path), 404)


def test_metadata_has_a_limit(world: World) -> None:
    """Beyond it the trigger is answered 413 by the field's name, and nothing is written."""
    body = {"options": {"metadata": {"a": "x" * MAX_METADATA_BYTES}}}
    assert "metadata" in json_of(world.api.post("/api/v1/tasks/hello/trigger", body), 413)["error"]
    assert rows_of("SELECT count(*) FROM runs_taskrun") == [(0,)]
