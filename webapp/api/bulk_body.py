"""The body that begins a bulk action. Unlike other public bodies it refuses what it does not know.

A condition that is silently ignored would cancel runs nobody meant.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from annotated_types import MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from deployments.manifest import own_queue_name
from runs.bulk import MAX_NAME, BulkChoice, NewBulkAction
from runs.durations import seconds_of
from runs.machines import PRESETS
from runs.run_filter import RunFilter
from tenants.credentials import Caller
from tenants.errors import Invalid, Problem
from webapp.api.run_answers import STORED_BY_NAME
from webapp.api.run_query import MAX_VALUES, read_moment
from webapp.api.trigger_body import Text

MAX_REGION: Final = 200


def _many(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _status(name: str) -> str:
    if name not in STORED_BY_NAME:
        raise ValueError(f'"{name}" is none of {", ".join(sorted(STORED_BY_NAME))}')
    return STORED_BY_NAME[name]


def _machine(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f'"{name}" is none of {", ".join(PRESETS)}')
    return name


def _moment(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    moment = read_moment(str(value)) if is_number or isinstance(value, str) else None
    if moment is None:
        raise ValueError("should be a time: epoch ms or ISO 8601")
    return moment


def _period(value: str) -> str:
    if seconds_of(value) is None:
        raise ValueError(f'"{value}" is no duration such as 7d')
    return value


class Strict(BaseModel):
    """Base of what names exactly the keys it has."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class QueueName(Strict):
    """A queue as clients name it."""

    type: Literal["task", "custom"]
    name: Text


_Filled = Annotated[Text, MinLen(1)]
Texts = Annotated[list[_Filled], BeforeValidator(_many), MaxLen(MAX_VALUES)]
Statuses = Annotated[
    list[Annotated[Text, AfterValidator(_status)]], BeforeValidator(_many), MaxLen(MAX_VALUES)
]
Machines = Annotated[
    list[Annotated[Text, AfterValidator(_machine)]], BeforeValidator(_many), MaxLen(MAX_VALUES)
]
Queues = Annotated[list[QueueName], BeforeValidator(_many), MaxLen(MAX_VALUES)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


class BulkFilter(Strict):
    """The conditions of a run list; a value or a list of values, any of which matches."""

    status: Statuses = []
    taskIdentifier: Texts = []  # noqa: N815
    version: Texts = []
    tag: Texts = []
    region: Texts = []
    queue: Queues = []
    machine: Machines = []
    batch: Texts = []
    bulkAction: Texts = []  # noqa: N815
    isTest: bool | None = None  # noqa: N815
    period: Annotated[Text, AfterValidator(_period)] | None = None
    created_from: Annotated[Moment | None, Field(alias="from")] = None
    created_to: Annotated[Moment | None, Field(alias="to")] = None

    def wanted(self, now: datetime) -> RunFilter:
        """Give the filter as the selectors have it, a period counted from now."""
        since = [] if self.created_from is None else [self.created_from]
        if self.period is not None:
            since.append(now - timedelta(seconds=seconds_of(self.period) or 0))
        return RunFilter(
            statuses=tuple(self.status),
            tasks=tuple(self.taskIdentifier),
            tags=tuple(self.tag),
            regions=tuple(self.region),
            queues=tuple(map(_stored_name, self.queue)),
            versions=tuple(self.version),
            machines=tuple(self.machine),
            batches=tuple(self.batch),
            bulk_actions=tuple(self.bulkAction),
            is_test=self.isTest,
            created_from=max(since, default=None),
            created_to=self.created_to,
        )


class BulkBody(Strict):
    """What to do, and to which runs: either those of a filter, or those named."""

    action: Literal["cancel", "replay"]
    filter: BulkFilter | None = None
    runIds: Annotated[list[_Filled], MinLen(1)] | None = None  # noqa: N815
    name: Annotated[Text, MaxLen(MAX_NAME)] | None = None
    targetRegion: Annotated[_Filled, MaxLen(MAX_REGION)] | None = None  # noqa: N815


def new_bulk_action(body: BulkBody, caller: Caller, *, now: datetime) -> NewBulkAction:
    """Give what a caller asks for, or raise `Invalid`."""
    if (body.filter is None) == (body.runIds is None):
        raise _invalid("filter", "give exactly one of filter and runIds")
    if body.action == "cancel" and body.targetRegion is not None:
        raise _invalid("targetRegion", "canceled runs go nowhere; it is for replays")
    return NewBulkAction(
        kind=body.action,
        choice=BulkChoice(
            environment_ids=(caller.environment.id,),
            wanted=None if body.filter is None else body.filter.wanted(now),
            run_ids=tuple(body.runIds or ()),
        ),
        organization_id=caller.organization.id,
        name=body.name,
        target_region=body.targetRegion,
    )


def _stored_name(queue: QueueName) -> str:
    return own_queue_name(queue.name) if queue.type == "task" else queue.name


def _invalid(key: str, message: str) -> Exception:
    problem: Any = Problem(key, message)
    return Invalid(f"{key}: {message}", (problem,))
