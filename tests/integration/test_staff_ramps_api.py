"""The staff API of ramps: the shape of answers, strict bodies, and what conflicts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from flags.ramping import record_steps
from flags.ramps import Step
from ledger.selectors import current_revision, list_audit
from tests.api_client import ApiClient, json_of
from tests.factories import make_person
from tests.ramping import FREE, HOUR_S, ON, PAID, started

pytestmark = pytest.mark.django_db

RAMPS = "/admin/api/v1/ramps"
FLAGS = "/admin/api/v1/feature-flags"
KILL = "/admin/api/v1/migration/kill"
STEPS = [{"value": 5, "holdSeconds": 60}, {"value": 25, "holdSeconds": 0}]
BODY = {"flag": FREE, "steps": STEPS}


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


def act(staff: ApiClient, ramp: dict[str, Any], action: str, status: int = 200) -> Any:
    """Do something to a ramp."""
    return json_of(staff.post(f"{RAMPS}/{ramp['id']}/{action}", {}), status)


def test_a_ramp_from_draft_to_end(staff: ApiClient) -> None:
    """Each answer says where it stands; what has no value is left out."""
    json_of(staff.post(FLAGS, {ON: True, FREE: 1}))
    draft = json_of(staff.post(RAMPS, BODY), 201)
    assert draft == {
        "id": draft["id"],
        "flag": FREE,
        "state": "draft",
        "steps": STEPS,
        "startValue": 1,
        "value": 1,
        "step": 0,
    }
    running = act(staff, draft, "start")
    assert (running["state"], running["value"], running["step"]) == ("running", 5, 0)
    began, follows = (datetime.fromisoformat(running[key]) for key in ("startedAt", "nextAt"))
    assert follows - began == timedelta(seconds=60)
    assert json_of(staff.get(FLAGS))["flags"] == {ON: True, FREE: 5}
    paused = act(staff, draft, "pause")
    assert (paused["state"], paused["value"], "nextAt" in paused) == ("paused", 5, False)
    assert act(staff, draft, "resume")["state"] == "running"
    aborted = act(staff, draft, "abort")
    assert (aborted["state"], aborted["value"], aborted["startValue"]) == ("aborted", 1, 1)
    assert json_of(staff.get(FLAGS))["flags"] == {ON: True, FREE: 1}
    assert json_of(staff.get(RAMPS)) == {"data": [aborted]}


def test_the_flags_show_the_value_in_effect(staff: ApiClient) -> None:
    """Of a ramp that has gone on by itself, also where nothing was ever stored."""
    started(ago_s=HOUR_S + 1)
    assert json_of(staff.get(FLAGS)) == {"flags": {FREE: 5}, "revision": current_revision()}
    assert json_of(staff.post(FLAGS, {PAID: 2}))["flags"] == {FREE: 5, PAID: 2}
    (ramp,) = json_of(staff.get(RAMPS))["data"]
    assert (ramp["value"], ramp["step"], ramp["startValue"]) == (5, 1, 0)
    assert act(staff, ramp, "finish")["state"] == "finished"
    assert json_of(staff.get(FLAGS))["flags"] == {FREE: 5, PAID: 2}


@pytest.mark.parametrize(
    ("path", "body"),
    [(FLAGS, {FREE: 60}), (FLAGS, {ON: False}), (FLAGS, {ON: None}), (KILL, {})],
)
def test_other_writes_pause_a_ramp(staff: ApiClient, path: str, body: dict[str, Any]) -> None:
    """A write of its dial, and switching the migration off by any call, at one revision."""
    json_of(staff.post(FLAGS, {ON: True}))
    started()
    revision = json_of(staff.post(path, body))["revision"]
    (ramp,) = json_of(staff.get(RAMPS))["data"]
    assert (ramp["state"], ramp["value"]) == ("paused", 1)
    states = [row for row in list_audit(key="state").rows if row.new == "paused"]
    assert [row.revision for row in states] == [revision]


def test_a_step_is_no_conflict(staff: ApiClient) -> None:
    """A page that was loaded while the ramp ran can still be saved after its next step."""
    started(ago_s=HOUR_S + 1)
    seen = {"if-match": str(json_of(staff.get(FLAGS))["revision"])}
    assert record_steps() == 1
    json_of(staff.send("POST", FLAGS, {FREE: 2}, headers=seen))


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({**BODY, "flag": ON}, "flag"),
        ({**BODY, "flag": "nothing"}, "flag"),
        ({**BODY, "flag": None}, "flag"),
        ({**BODY, "more": 1}, "more"),
        ({"flag": FREE}, "steps"),
        ({**BODY, "steps": []}, "steps"),
        ({**BODY, "steps": STEPS * 60}, "steps"),
        ({**BODY, "steps": [{"value": 12.0, "holdSeconds": 1}]}, "steps.0.value"),
        ({**BODY, "steps": [{"value": "12", "holdSeconds": 1}]}, "steps.0.value"),
        ({**BODY, "steps": [{"value": True, "holdSeconds": 1}]}, "steps.0.value"),
        ({**BODY, "steps": [{"value": None, "holdSeconds": 1}]}, "steps.0.value"),
        ({**BODY, "steps": [{"value": 101, "holdSeconds": 1}]}, "steps.0.value"),
        ({**BODY, "steps": [{"value": 1, "holdSeconds": -1}]}, "steps.0.holdSeconds"),
        ({**BODY, "steps": [{"value": 1, "holdSeconds": 1.5}]}, "steps.0.holdSeconds"),
        ({**BODY, "steps": [{"value": 1, "holdSeconds": 10**12}]}, "steps.0.holdSeconds"),
        ({**BODY, "steps": [{"value": 1}]}, "steps.0.holdSeconds"),
        ({**BODY, "steps": [*STEPS[1:], *STEPS[:1]]}, "steps.0.holdSeconds"),
        ({**BODY, "steps": [STEPS[0], STEPS[0]]}, "steps.1.value"),
    ],
)
def test_what_is_no_ramp_is_refused(staff: ApiClient, body: object, key: str) -> None:
    """Nothing is coerced; the wrong part is named and nothing is stored."""
    before = current_revision()
    problems = json_of(staff.post(RAMPS, body), 400)["problems"]
    assert [problem["key"] for problem in problems] == [key]
    assert (json_of(staff.get(RAMPS)), current_revision()) == ({"data": []}, before)


def test_what_cannot_be_done_is_refused(staff: ApiClient) -> None:
    """409 that nobody repeats for a move out of turn, 404 for what is not there."""
    first, second = (json_of(staff.post(RAMPS, BODY), 201) for _ in range(2))
    assert "draft" in act(staff, first, "pause", 409)["error"]
    act(staff, first, "start")
    refused = staff.post(f"{RAMPS}/{second['id']}/start", {})
    assert (refused.status_code, refused["x-should-retry"]) == (409, "false")
    act(staff, first, "start", 409)
    act(staff, {"id": "ramp_x"}, "start", 404)
    act(staff, first, "explode", 404)
    json_of(staff.post(f"{RAMPS}/{first['id']}/pause", {"value": 3}), 400)


def test_the_newest_ramps_come_first(staff: ApiClient) -> None:
    """And one that runs is listed whenever it was made."""
    ramp = started(Step(5, HOUR_S))
    later = [json_of(staff.post(RAMPS, BODY), 201)["id"] for _ in range(3)]
    assert [one["id"] for one in json_of(staff.get(RAMPS))["data"]] == [*reversed(later), ramp.id]
