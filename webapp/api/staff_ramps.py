"""What staff do with ramps: schedules that move a dial by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Final

from ninja.responses import Status
from pydantic import Field

from flags.ramping import abort_ramp, create_ramp, finish_ramp, pause_ramp, resume_ramp, start_ramp
from flags.ramps import MAX_HOLD_S, MAX_STEPS, MAX_VALUE, Step
from flags.selectors import RampView, get_ramp, list_ramps
from tenants.errors import NotFound
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.json_object import check_no_keys
from webapp.api.shapes import Answer, Body, new_router

router = new_router(auth=staff_token, tags=["staff"])

Percent = Annotated[int, Field(ge=0, le=MAX_VALUE)]
HoldSeconds = Annotated[int, Field(ge=0, le=MAX_HOLD_S)]


class StepBody(Body):
    """A value of the dial, and for how many seconds it holds."""

    value: Percent
    hold_seconds: HoldSeconds


class RampBody(Body):
    """A new ramp."""

    flag: str
    steps: Annotated[list[StepBody], Field(min_length=1, max_length=MAX_STEPS)]


class StepPart(Answer):
    """A value of the dial, and for how many seconds it holds."""

    value: int
    hold_seconds: int


class RampAnswer(Answer):
    """A ramp.

    `step` is the place in `steps` of the one it stands at, 0 for the first; without `next_at` no
    other step follows by itself.
    """

    id: str
    flag: str
    state: str
    steps: list[StepPart]
    start_value: int
    value: int
    step: int
    next_at: datetime | None = None
    started_at: datetime | None = None


class RampsAnswer(Answer):
    """The ramps, newest first."""

    data: list[RampAnswer]


ACTIONS: Final[Mapping[str, Callable[..., None]]] = {
    "start": start_ramp,
    "pause": pause_ramp,
    "resume": resume_ramp,
    "abort": abort_ramp,
    "finish": finish_ramp,
}


@router.get("/ramps", response=RampsAnswer)
def get_ramps(request: PersonRequest) -> RampsAnswer:
    """List the ramps: all that are running or paused, and the newest of the others."""
    return RampsAnswer(data=[_answer(ramp) for ramp in list_ramps()])


@router.post("/ramps", response={201: RampAnswer})
def post_ramp(request: PersonRequest, body: RampBody) -> Status[RampAnswer]:
    """Write a draft of a ramp down; it changes nothing before it is started."""
    ramp_id = create_ramp(
        flag=body.flag,
        steps=[Step(step.value, step.hold_seconds) for step in body.steps],
        **origin_of(request, request.auth),
    )
    return Status(201, _answer(get_ramp(ramp_id)))


@router.post("/ramps/{ramp_id}/{action}", response=RampAnswer)
def post_action(request: PersonRequest, ramp_id: str, action: str) -> RampAnswer:
    """Start, pause or resume a ramp, abort it (the dial goes back) or finish it (it stays)."""
    if action not in ACTIONS:
        raise NotFound("Not found")
    check_no_keys(request.body)
    ACTIONS[action](ramp_id, **origin_of(request, request.auth))
    return _answer(get_ramp(ramp_id))


def _answer(ramp: RampView) -> RampAnswer:
    return RampAnswer(
        id=ramp.id,
        flag=ramp.flag,
        state=ramp.state.value,
        steps=[StepPart(value=step.value, hold_seconds=step.hold_s) for step in ramp.steps],
        start_value=ramp.start_value or 0,
        value=ramp.value,
        step=ramp.step,
        next_at=ramp.next_at,
        started_at=ramp.started_at,
    )
