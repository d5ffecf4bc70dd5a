"""Canceling and replaying many runs at once: exactly those that were chosen, once each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.ids import encode_ms
from runs import bulk_work
from runs.bulk import MAX_UNFINISHED
from runs.retention import forget_old_bulk_actions
from runs.services import bulk_actions
from runs.services.cancellation import cancel_run
from tests.api_client import json_of
from tests.factories import make_tenant
from tests.running import World, change, check_books, executing, make_world, rows_of, states_of
from tests.running import run_of as run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

BULK = "/api/v1/bulk-actions"
MANY = 120  # more than one slice


@pytest.fixture
def world(db: None) -> World:
    """Give a world with one task."""
    return make_world()


def begin(world: World, status: int = 200, /, **body: Any) -> Any:
    """Begin an action; give its id, or what refused it."""
    answer = json_of(world.api.post(BULK, body), status)
    return answer["id"] if status == 200 else answer


def read(world: World, action_id: str) -> Any:
    """Read an action."""
    return json_of(world.api.get(f"{BULK}/{action_id}"))


def work() -> None:
    """Carry out what there is to do."""
    bulk_work.work_bulk_actions(tick_s=60)


def counts(total: int, success: int, failure: int = 0) -> dict[str, int]:
    """Give counts as an action shows them."""
    return {"total": total, "success": success, "failure": failure}


def listed(world: World, query: str) -> list[str]:
    """Give the ids of a run list."""
    found = json_of(world.api.get(f"/api/v1/runs?{query}&page[size]=100"))
    return [each["id"] for each in found["data"]]


def test_cancels_what_matched_when_it_was_begun_and_nothing_else(world: World) -> None:
    """Neither another tag's runs, nor another environment's, nor one that came later."""
    chosen = [world.trigger(tags=("old",)) for _ in range(3)]
    other = world.trigger(tags=("new",))
    neighbour = world.in_environment(make_tenant())
    foreign = neighbour.trigger(tags=("old",))
    action = begin(world, action="cancel", filter={"tag": "old"}, name="the old ones")
    later = world.trigger(tags=("old",))
    begun = read(world, action)
    assert (begun["status"], begun["type"], begun["name"]) == ("PENDING", "CANCEL", "the old ones")
    assert begun["counts"] == counts(3, 0)
    assert "completedAt" not in begun
    work()
    ended = read(world, action)
    assert (ended["status"], ended["counts"]) == ("COMPLETED", counts(3, 3))
    assert {states_of(each)[1] for each in chosen} == {"CANCELED"}
    assert {states_of(each)[1] for each in (other, foreign, later)} <= {
        "PENDING",
        "PENDING_VERSION",
    }
    assert sorted(listed(world, f"filter[bulkAction]={action}")) == sorted(chosen)
    assert listed(neighbour, f"filter[bulkAction]={action}") == []
    check_books()


def test_a_run_that_executes_is_told_and_one_that_is_over_is_not_counted(world: World) -> None:
    """A cancel of everything of a task reaches what waits and what runs."""
    over, snapshot = executing(world)
    world.complete(over, snapshot)
    running, _ = executing(world)
    waiting = world.trigger()
    action = begin(world, action="cancel", filter={"taskIdentifier": ["hello"]})
    assert read(world, action)["counts"] == counts(2, 0)
    work()
    assert states_of(running)[0] == "PENDING_CANCEL"
    assert states_of(waiting)[1] == "CANCELED"
    assert states_of(over)[1] == "COMPLETED_SUCCESSFULLY"


def test_replays_each_named_run_once_whatever_is_repeated(world: World) -> None:
    """What was done before a crash, but not written down, is not done again."""
    olds = [world.trigger(payload=f'{{"n": {number}}}', tags=("t",)) for number in range(3)]
    action = begin(world, action="replay", runIds=olds[:2])
    work()
    made = listed(world, f"filter[bulkAction]={action}")
    assert len(made) == 2
    assert {run(each).replay_of_id for each in made} == set(olds[:2])
    change(
        "UPDATE runs_bulkaction SET status = 'PENDING', completed_at = NULL, success = 0"
    )  # as if the database had been restored from just before
    change("UPDATE runs_bulkactionrun SET result_id = NULL")
    work()
    assert read(world, action)["counts"] == counts(2, 2)
    assert sorted(listed(world, f"filter[bulkAction]={action}")) == sorted(made)
    assert len(listed(world, "filter[tag]=t")) == 5


def test_a_replay_of_a_filter_does_not_replay_what_it_makes(world: World) -> None:
    """Its replays match the same filter, and are no part of it."""
    for _ in range(MANY):
        world.trigger(tags=("again",))
    action = begin(world, action="replay", filter={"tag": "again"})
    work()
    assert read(world, action)["counts"] == counts(MANY, MANY)
    assert rows_of("SELECT count(*) FROM runs_taskrun") == [(2 * MANY,)]


def test_what_cannot_be_replayed_is_counted_and_the_rest_goes_on(world: World) -> None:
    """With the reason, which the page of the action names."""
    world.trigger()
    action = begin(world, action="replay", filter={"status": "QUEUED"}, targetRegion="mars")
    work()
    assert read(world, action)["counts"] == counts(1, 0, 1)
    ((error,),) = rows_of("SELECT error FROM runs_bulkactionrun")
    assert "mars" in error


def test_a_run_that_was_forgotten_meanwhile_is_said_so(world: World) -> None:
    """Retention may be quicker than a long action."""
    kept, gone = world.trigger(), world.trigger()
    action = begin(world, action="replay", runIds=[kept, gone])
    change("DELETE FROM runs_readyentry WHERE run_id = %s", gone)
    change("DELETE FROM runs_taskrun WHERE id = %s", gone)
    work()
    assert read(world, action)["counts"] == counts(2, 1, 1)
    assert rows_of("SELECT error FROM runs_bulkactionrun WHERE run_id = %s", gone) == [
        (f"There is no run {gone}",)
    ]


def test_a_fault_of_one_run_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted as a failure, and customers are not told its inside."""
    first, second = world.trigger(), world.trigger()

    def fault(*, environment_id: str, run_id: str) -> None:
        if run_id == first:
            raise ZeroDivisionError("inside")
        cancel_run(environment_id=environment_id, run_id=run_id)

    monkeypatch.setattr(bulk_work, "cancel_run", fault)
    action = begin(world, action="cancel", runIds=[first, second])
    work()
    assert read(world, action)["counts"] == counts(2, 1, 1)
    assert states_of(second)[1] == "CANCELED"
    assert rows_of("SELECT error FROM runs_bulkactionrun WHERE run_id = %s", first) == [
        ("Something went wrong",)
    ]


def test_an_abort_leaves_alone_what_it_was_not_yet_come_to(world: World) -> None:
    """What was done stays done, and there is nothing to abort twice."""
    for _ in range(MANY):
        world.trigger()
    action = begin(world, action="cancel", filter={"taskIdentifier": "hello"})
    bulk_work.work_bulk_actions(tick_s=0)  # one slice
    assert json_of(world.api.post(f"{BULK}/{action}/abort", {})) == {"id": action}
    work()
    ended = read(world, action)
    assert (ended["status"], ended["counts"]) == ("ABORTED", counts(MANY, bulk_work.SLICE))
    assert len(listed(world, "filter[status]=QUEUED")) == MANY - bulk_work.SLICE
    refused = world.api.post(f"{BULK}/{action}/abort", {})
    assert (refused.status_code, refused["x-should-retry"]) == (409, "false")


def test_actions_take_turns(world: World) -> None:
    """A long one does not keep a short one waiting."""
    for _ in range(MANY):
        world.trigger(tags=("long",))
    short_run = world.trigger(tags=("short",))
    begin(world, action="cancel", filter={"tag": "long"})
    short = begin(world, action="cancel", filter={"tag": "short"})
    bulk_work.work_bulk_actions(tick_s=0)
    bulk_work.work_bulk_actions(tick_s=0)
    assert states_of(short_run)[1] == "CANCELED"
    assert read(world, short)["counts"] == counts(1, 1)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"action": "cancel"}, "filter"),
        ({"action": "cancel", "filter": {"tag": "a"}, "runIds": ["run_x"]}, "filter"),
        ({"action": "cancel", "filter": {"tags": "a"}}, "filter.tags"),
        ({"action": "cancel", "filter": {"schedule": "sched_1"}}, "filter.schedule"),
        ({"action": "cancel", "filter": {"status": "Bogus"}}, "filter.status"),
        ({"action": "cancel", "filter": {"machine": ["huge"]}}, "filter.machine"),
        ({"action": "cancel", "filter": {"from": "yesterday"}}, "filter.from"),
        ({"action": "cancel", "filter": {"period": "soon"}}, "filter.period"),
        ({"action": "cancel", "runIds": []}, "runIds"),
        ({"action": "cancel", "runIds": ["run_x"] * 1001}, "runIds"),
        ({"action": "cancel", "runIds": ["run_x"], "targetRegion": "eu"}, "targetRegion"),
        ({"action": "cancel", "runIds": ["run_x"], "name": "n" * 256}, "name"),
        ({"action": "erase", "runIds": ["run_x"]}, "action"),
    ],
)
def test_a_wrong_body_is_refused_by_the_name_of_its_field(
    world: World, body: dict[str, Any], key: str
) -> None:
    """Nothing is begun: a condition that is not understood is never left out."""
    world.trigger()
    answer = begin(world, 400, **body)
    assert any(problem["key"].startswith(key) for problem in answer["problems"]), answer
    assert rows_of("SELECT count(*) FROM runs_bulkaction") == [(0,)]


def test_a_filter_that_narrows_nothing_is_refused(world: World) -> None:
    """All runs of an environment are never meant by saying nothing."""
    world.trigger()
    nothing: tuple[dict[str, list[str]], ...] = ({}, {"tag": []})
    for empty in nothing:
        assert "at least one condition" in begin(world, 400, action="cancel", filter=empty)["error"]


def test_an_action_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its runs, in how many are under way, and it is about something."""
    monkeypatch.setattr(bulk_actions, "MAX_RUNS", 2)
    assert "no run" in begin(world, 422, action="cancel", filter={"tag": "t"})["error"]
    for _ in range(3):
        world.trigger(tags=("t",))
    assert "More than 2 runs" in begin(world, 422, action="cancel", filter={"tag": "t"})["error"]
    assert rows_of("SELECT count(*) FROM runs_bulkactionrun") == [(0,)]
    monkeypatch.setattr(bulk_actions, "MAX_RUNS", 3)
    for _ in range(MAX_UNFINISHED):
        begin(world, action="replay", filter={"tag": "t"})
    assert "under way" in begin(world, 422, action="replay", filter={"tag": "t"})["error"]


def test_every_condition_narrows(world: World) -> None:
    """Each of them alone leaves out the run that does not meet it."""
    wanted = world.trigger(tags=("a",), queue="mail", machine="micro", is_test=True)
    world.trigger("nobody", tags=("b",), machine="small-1x")
    at = run(wanted).created_at
    change(
        "UPDATE runs_taskrun SET version = '20260101.1', batch_id = 'batch_1' WHERE id = %s", wanted
    )
    change("UPDATE runs_taskrun SET region = 'mars' WHERE id <> %s", wanted)
    for condition in (
        {"status": ["QUEUED"]},
        {"tag": "a"},
        {"queue": {"type": "custom", "name": "mail"}},
        {"machine": "micro"},
        {"isTest": True},
        {"version": "20260101.1"},
        {"batch": "batch_1"},
        {"region": run(wanted).region},
        {"taskIdentifier": "hello", "from": at.isoformat(), "period": "1h"},
        {"to": int(at.timestamp() * 1000)},
    ):
        action = begin(world, action="replay", filter=condition)
        chosen = rows_of("SELECT run_id FROM runs_bulkactionrun WHERE bulk_action_id = %s", action)
        assert chosen == [(wanted,)], condition
        change("DELETE FROM runs_bulkaction")


def test_beginning_and_aborting_are_in_the_audit(world: World) -> None:
    """With who, how many, and which runs were meant."""
    world.trigger(tags=("t",))
    action = begin(world, action="cancel", filter={"tag": "t"})
    json_of(world.api.post(f"{BULK}/{action}/abort", {}))
    begun, aborted = rows_of(
        "SELECT key, actor, org, new FROM ledger_auditrow WHERE scope = %s ORDER BY id",
        f"bulk_action:{action}",
    )
    assert begun[:3] == (
        "begun",
        f"key:{world.tenant.key_ids['prod']}",
        world.tenant.organization.id,
    )
    assert '"runs": 1' in str(begun[3]) or begun[3]["runs"] == 1
    assert "t" in str(begun[3])
    assert aborted[0] == "aborted"


def test_actions_are_listed_newest_first_in_pages(world: World) -> None:
    """Only those of the key's environment."""
    made = []
    for number in range(3):
        run_id = world.trigger()
        made.append(begin(world, action="replay", runIds=[run_id], name=str(number)))
    first = json_of(world.api.get(f"{BULK}?page[size]=2"))
    assert [each["id"] for each in first["data"]] == made[:0:-1]
    cursor = first["pagination"]["next"]
    second = json_of(world.api.get(f"{BULK}?page[size]=2&page[after]={cursor}"))
    assert [each["id"] for each in second["data"]] == made[:1]
    before = second["pagination"]["previous"]
    assert (
        json_of(world.api.get(f"{BULK}?page[size]=2&page[before]={before}"))["data"]
        == first["data"]
    )
    neighbour = world.in_environment(make_tenant())
    assert json_of(neighbour.api.get(BULK)) == {"data": [], "pagination": {}}
    assert neighbour.api.get(f"{BULK}/{made[0]}").status_code == 404
    json_of(world.api.get(f"{BULK}?page[size]=0"), 400)


def test_an_old_action_is_forgotten_with_its_plan(world: World) -> None:
    """Not one that is under way, and none before its time."""
    run_id = world.trigger()
    for days, is_over in ((29, True), (31, True), (31, False)):
        action = begin(world, action="replay", runIds=[run_id])
        moment = datetime.now(UTC) - timedelta(days=days)
        old = f"bulk_{encode_ms(int(moment.timestamp() * 1000))}{action[-15:]}"
        change("UPDATE runs_bulkaction SET id = %s WHERE id = %s", old, action)
        change(
            "UPDATE runs_bulkactionrun SET bulk_action_id = %s WHERE bulk_action_id = %s",
            old,
            action,
        )
        end = "UPDATE runs_bulkaction SET status = 'COMPLETED', completed_at = %s WHERE id = %s AND %s"
        change(end, moment, old, is_over)
    assert forget_old_bulk_actions() == 1
    assert rows_of("SELECT status FROM runs_bulkaction ORDER BY id") == [
        ("PENDING",),
        ("COMPLETED",),
    ]
    assert rows_of("SELECT count(*) FROM runs_bulkactionrun") == [(2,)]
