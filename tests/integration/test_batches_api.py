"""The routes of batches: announce, send, repeat, read; and whatever is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from tests.api_client import json_of
from tests.batching import BATCHES, announce, item, ndjson, read, run_count, upload
from tests.running import World, check_books, make_world, run_of, states_of
from webapp.api import batches
from webapp.middleware import BATCH_ITEM_BYTES

pytestmark = pytest.mark.django_db

REQUEST_KEY = "x-trigger-request-idempotency-key"


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


class TestAnnounce:
    """The first phase."""

    def test_the_answer_is_what_clients_expect(self, world: World) -> None:
        """202 with the id and the claims that a client signs a token with."""
        answer = world.api.post(BATCHES, {"runCount": 2, "taskIdentifiers": ["hello"]})
        body = json_of(answer, 202)
        assert body == {"id": body["id"], "runCount": 2, "isCached": False}
        assert body["id"].startswith("batch_")
        assert f'"read:batch:{body["id"]}"' in answer["x-trigger-jwt-claims"]

    @pytest.mark.parametrize(
        ("body", "key"),
        [
            ({}, "runCount"),
            ({"runCount": 0}, "runCount"),
            ({"runCount": 1001}, "runCount"),
            ({"runCount": "2"}, "runCount"),
            ({"runCount": 1, "taskIdentifiers": []}, "taskIdentifiers"),
            ({"runCount": 1, "taskIdentifiers": [""]}, "taskIdentifiers.0"),
            ({"runCount": 1, "idempotencyKey": "x" * 2049}, "idempotencyKey"),
        ],
    )
    def test_wrong_shapes_are_named(self, world: World, body: dict[str, Any], key: str) -> None:
        """400, and the problem names the field."""
        (problem,) = json_of(world.api.post(BATCHES, body), 400)["problems"]
        assert problem["key"] == key

    def test_waiting_for_a_batch_is_refused(self, world: World) -> None:
        """A run that waited for nobody would wait for ever."""
        body = {"runCount": 1, "resumeParentOnCompletion": True}
        json_of(world.api.post(BATCHES, body), 422)

    def test_a_parent_has_to_be_ones_own(self, world: World) -> None:
        """Another tenant's run is as unknown as none; of one's own, the items are children."""
        for parent in (make_world().trigger(), "run_nothing"):
            json_of(world.api.post(BATCHES, {"runCount": 1, "parentRunId": parent}), 404)
        parent = world.trigger()
        batch_id = announce(world.api, 1, parentRunId=parent)
        json_of(upload(world.api, batch_id, [item(0)]))
        run = run_of(read(world.api, batch_id)["runs"][0])
        assert (run.parent_run_id, run.root_run_id, run.depth) == (parent, parent, 1)

    def test_a_repeated_request_gets_its_batch(self, world: World) -> None:
        """It is not cached, however often: its items may be missing still."""
        sent = [
            world.api.send("POST", BATCHES, {"runCount": 2}, headers={REQUEST_KEY: "r"})
            for _ in range(3)
        ]
        first, *others = (json_of(one, 202) for one in sent)
        assert others == [first, first]
        assert json_of(world.api.post(BATCHES, {"runCount": 2}), 202)["id"] != first["id"]

    def test_a_key_is_cached_once_its_items_are_there(self, world: World) -> None:
        """Before, the caller is asked to send them again; then it is told to send nothing."""
        body = {
            "runCount": 1,
            "taskIdentifiers": ["b", "a"],
            "idempotencyKey": "0" * 64,
            "idempotencyKeyOptions": {"key": "mine", "scope": "global"},
        }
        made = json_of(world.api.post(BATCHES, body), 202)
        assert made["idempotencyKey"] == "mine"
        assert json_of(world.api.post(BATCHES, body), 202) == made
        json_of(upload(world.api, made["id"], [item(0)]))
        other_order = body | {"taskIdentifiers": ["a", "b"]}
        assert json_of(world.api.post(BATCHES, other_order)) == made | {"isCached": True}
        assert read(world.api, made["id"])["idempotencyKey"] == "mine"

    def test_a_key_is_about_its_environment_and_tasks(self, world: World) -> None:
        """The same key elsewhere, or for other tasks, is another batch."""
        made = announce(world.api, 1, idempotencyKey="k", taskIdentifiers=["a"])
        assert made != announce(world.api, 1, idempotencyKey="k", taskIdentifiers=["b"])
        assert made != announce(make_world().api, 1, idempotencyKey="k", taskIdentifiers=["a"])

    def test_a_request_that_meets_a_held_key_is_remembered_for_it(self, world: World) -> None:
        """Its repeat gets the same batch, also without looking at the key."""
        held = announce(world.api, 1, idempotencyKey="k")
        headers = {REQUEST_KEY: "r"}
        for body in ({"runCount": 1, "idempotencyKey": "k"}, {"runCount": 1}):
            answer = json_of(world.api.send("POST", BATCHES, body, headers=headers), 202)
            assert answer["id"] == held


class TestItems:
    """The second phase."""

    def test_the_last_item_seals(self, world: World) -> None:
        """Before, the answer says how many are there; then every run is read in its order."""
        batch_id = announce(world.api, 3)
        first = json_of(upload(world.api, batch_id, [item(2), item(0)]))
        assert first == {
            "id": batch_id,
            "itemsAccepted": 2,
            "itemsDeduplicated": 0,
            "sealed": False,
            "runCount": 3,
            "enqueuedCount": 2,
            "expectedCount": 3,
        }
        assert read(world.api, batch_id)["status"] == "PROCESSING"
        second = json_of(upload(world.api, batch_id, [item(0), item(1), item(2)]))
        assert (second["itemsAccepted"], second["itemsDeduplicated"]) == (1, 2)
        assert second["sealed"] is True
        assert "enqueuedCount" not in second
        runs = read(world.api, batch_id)["runs"]
        assert [json.loads(run_of(one).payload or "") for one in runs] == [
            {"n": n} for n in range(3)
        ]
        check_books()

    def test_a_repeat_of_a_sealed_batch_changes_nothing(self, world: World) -> None:
        """Whatever it holds: nothing of it is looked at."""
        batch_id = announce(world.api, 1)
        json_of(upload(world.api, batch_id, [item(0)]))
        for raw in (ndjson([item(0)]), b"garbage", b"\n"):
            again = json_of(upload(world.api, batch_id, raw=raw))
            assert (again["itemsAccepted"], again["itemsDeduplicated"]) == (0, 0)
            assert again["sealed"] is True
        assert run_count() == 1

    def test_of_one_index_the_first_item_counts(self, world: World) -> None:
        """A second one of the same index is a repeat, also with another payload."""
        batch_id = announce(world.api, 2)
        answer = json_of(upload(world.api, batch_id, [item(0), item(0, payload="other"), item(1)]))
        assert (answer["itemsAccepted"], answer["itemsDeduplicated"]) == (2, 1)
        assert json.loads(run_of(read(world.api, batch_id)["runs"][0]).payload or "") == {"n": 0}

    def test_a_batch_may_be_announced_and_not_sent(self, world: World) -> None:
        """It waits, and an upload without items says so."""
        batch_id = announce(world.api, 1)
        assert json_of(upload(world.api, batch_id, raw=b"\n"))["sealed"] is False
        assert (read(world.api, batch_id)["status"], run_count()) == ("PENDING", 0)

    def test_more_items_than_a_piece_holds(self, world: World) -> None:
        """A thousand items become a thousand runs, taken in their order."""
        batch_id = announce(world.api, 2 * batches.PIECE_ITEMS)
        answer = json_of(
            upload(world.api, batch_id, (item(n) for n in range(2 * batches.PIECE_ITEMS)))
        )
        assert answer["itemsAccepted"] == 2 * batches.PIECE_ITEMS
        runs = read(world.api, batch_id)["runs"]
        assert len(set(runs)) == 2 * batches.PIECE_ITEMS
        assert [world.lease_one().run.friendlyId for _ in range(3)] == runs[:3]
        check_books()

    @pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
    def test_another_content_type_is_415(self, world: World, content_type: str) -> None:
        """Items are lines of JSON, and say so."""
        batch_id = announce(world.api, 1)
        answer = upload(world.api, batch_id, [item(0)], content_type=content_type)
        json_of(answer, 415)

    @pytest.mark.parametrize(
        ("raw", "status"),
        [
            (b'{"index":0,"task":"hello"}\nnot json\n', 400),
            (b'{"index":0', 400),
            (b"[]\n", 422),
            (b'{"index":1,"task":"hello"}\n', 422),
            (b'{"index":0}\n', 422),
            (b'{"index":0,"task":"hello","options":{"machine":"huge"}}\n', 422),
        ],
    )
    def test_garbage_is_refused_and_the_batch_stays_open(
        self, world: World, raw: bytes, status: int
    ) -> None:
        """The whole stream may be sent again, corrected."""
        batch_id = announce(world.api, 1)
        assert json_of(upload(world.api, batch_id, raw=raw), status)["error"]
        assert run_count() == 0
        assert json_of(upload(world.api, batch_id, [item(0)]))["sealed"] is True

    def test_nobody_finds_anothers_batch(self, world: World) -> None:
        """Another tenant's batch is as unknown as none, to read and to write."""
        theirs = announce(make_world().api, 1)
        for batch_id in (theirs, "batch_nothing"):
            json_of(upload(world.api, batch_id, [item(0)]), 404)
            answer = world.api.get(f"/api/v2/batches/{batch_id}")
            assert json_of(answer, 404) == {"error": "Not found"}
            assert answer["x-should-retry"] == "true"
            json_of(world.api.get(f"/api/v1/batches/{batch_id}/results"), 404)
        assert run_count() == 0


class TestFailures:
    """What one item cannot be does not hurt the others."""

    def test_each_failure_is_kept_with_its_item(self, world: World) -> None:
        """A region, a version, too many tags, what is not built: read back by index."""
        batch_id = announce(world.api, 5)
        wrong = [
            item(0, options={"region": "mars"}),
            item(1, options={"lockToVersion": "20200101.1"}),
            item(2, options={"tags": [str(n) for n in range(11)]}),
            item(3, options={"debounce": {"key": "k", "delay": "1s"}}),
        ]
        assert json_of(upload(world.api, batch_id, [*wrong, item(4)]))["itemsAccepted"] == 5
        found = read(world.api, batch_id)
        errors = found["processing"]["errors"]
        assert [error["index"] for error in errors] == [0, 1, 2, 3]
        assert {error["taskIdentifier"] for error in errors} == {"hello"}
        assert {error["errorCode"] for error in errors} == {"UNPROCESSABLE"}
        assert ["region" in errors[0]["error"], "lockToVersion" in errors[1]["error"]] == [True] * 2
        assert (found["status"], len(found["runs"]), run_count()) == ("PARTIAL_FAILED", 1, 1)
        check_books()

    def test_metadata_that_is_too_large_fails_its_item(self, world: World) -> None:
        """With a code of its own; a batch of which nothing could be run is aborted."""
        batch_id = announce(world.api, 1)
        json_of(upload(world.api, batch_id, [item(0, options={"metadata": {"a": "x" * 300_000}})]))
        found = read(world.api, batch_id)
        assert found["status"] == "ABORTED"
        assert found["processing"]["errors"][0]["errorCode"] == "TOO_LARGE"

    def test_an_item_that_is_too_large_is_a_run_that_failed(self, world: World) -> None:
        """The others are runs as ever, and its run says why it failed."""
        batch_id = announce(world.api, 2)
        large = item(0, payload="x" * BATCH_ITEM_BYTES)
        assert json_of(upload(world.api, batch_id, [large, item(1)]))["sealed"] is True
        failed, fine = read(world.api, batch_id)["runs"]
        assert states_of(failed) == ("FINISHED", "SYSTEM_FAILURE")
        assert states_of(fine) == ("QUEUED", "PENDING")
        shown = json_of(world.api.get(f"/api/v3/runs/{failed}"))
        assert (shown["error"]["name"], shown["isFailed"]) == ("PAYLOAD_TOO_LARGE", True)
        check_books()

    def test_a_large_item_that_hides_its_index_fails_the_upload(self, world: World) -> None:
        """Nobody could say which one failed."""
        batch_id = announce(world.api, 1)
        raw = b'{"payload":"' + b"x" * BATCH_ITEM_BYTES + b'","index":0,"task":"hello"}'
        json_of(upload(world.api, batch_id, raw=raw), 413)


class TestReading:
    """What became of a batch."""

    def test_a_batch_is_over_when_its_runs_are(self, world: World) -> None:
        """Its results are those of its runs, in their order, as soon as each is over."""
        batch_id = announce(world.api, 2)
        json_of(upload(world.api, batch_id, [item(0), item(1)]))
        runs = read(world.api, batch_id)["runs"]
        for done, status in ((1, "PROCESSING"), (2, "COMPLETED")):
            world.complete(*world.started())
            assert read(world.api, batch_id)["status"] == status
            results = json_of(world.api.get(f"/api/v1/batches/{batch_id}/results"))
            assert [one["id"] for one in results["items"]] == runs[:done]
            assert {(one["ok"], one["output"]) for one in results["items"]} == {(True, '"done"')}

    def test_runs_name_their_batch_and_are_listed_by_it(self, world: World) -> None:
        """`batchId` on a run, and a filter of the list; other runs have none."""
        alone = world.trigger()
        batch_id = announce(world.api, 2)
        json_of(upload(world.api, batch_id, [item(0), item(1)]))
        runs = read(world.api, batch_id)["runs"]
        shown = json_of(world.api.get(f"/api/v3/runs/{runs[0]}"))
        assert (shown["batchId"], shown["triggerFunction"]) == (batch_id, "batchTrigger")
        assert "batchId" not in json_of(world.api.get(f"/api/v3/runs/{alone}"))
        listed = json_of(world.api.get(f"/api/v1/runs?filter[batch]={batch_id}"))["data"]
        assert {run["id"] for run in listed} == set(runs)

    def test_a_sealed_batch_says_when(self, world: World) -> None:
        """Keys without a value are left out until then."""
        batch_id = announce(world.api, 1)
        assert read(world.api, batch_id)["processing"] == {"errors": []}
        json_of(upload(world.api, batch_id, [item(0)]))
        assert read(world.api, batch_id)["processing"]["completedAt"].endswith("Z")


class TestLimit:
    """How many items may be announced."""

    @pytest.fixture(autouse=True)
    def limit(self) -> Any:
        """Let ten items be announced at once, and one more come back in a thousand seconds."""
        from dataclasses import replace

        with override_settings(ENV=replace(settings.ENV, batch_rate_limit=(10, 1, 1000))):
            yield

    def test_too_many_items_are_429(self, world: World) -> None:
        """The answer says when to come back, in milliseconds; other environments go on."""
        announce(world.api, 8)
        answer = world.api.post(BATCHES, {"runCount": 5})
        json_of(answer, 429)
        assert (answer["x-ratelimit-limit"], answer["x-ratelimit-remaining"]) == ("10", "2")
        assert int(answer["x-ratelimit-reset"]) > 1_700_000_000_000
        assert 2900 <= int(answer["Retry-After"]) <= 3000
        announce(world.api, 2)
        announce(make_world().api, 10)

    def test_what_the_bucket_never_holds_is_429_too(self, world: World) -> None:
        """It is refused without taking anything."""
        json_of(world.api.post(BATCHES, {"runCount": 11}), 429)
        announce(world.api, 10)

    def test_a_repeat_takes_nothing(self, world: World) -> None:
        """The first request paid for it."""
        for _ in range(3):
            answer = world.api.send("POST", BATCHES, {"runCount": 6}, headers={REQUEST_KEY: "r"})
            json_of(answer, 202)
