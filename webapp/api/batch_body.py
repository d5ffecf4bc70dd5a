"""The bodies of a batch: what is announced, and each line of its items."""

from __future__ import annotations

import json
import re
from datetime import datetime
from operator import itemgetter
from typing import Annotated, Final, NamedTuple

from annotated_types import MaxLen, MinLen
from pydantic import Field, ValidationError

from runs.batches import (
    MAX_BATCH_RUNS,
    PAYLOAD_TOO_LARGE,
    UNPROCESSABLE,
    BatchItem,
    ItemFailure,
    NewBatch,
)
from runs.calls import TriggerCall
from tenants.errors import Invalid, Problem, Refused
from webapp.api.errors import ApiError
from webapp.api.ndjson import Line
from webapp.api.trigger_body import (
    MAX_KEY,
    MAX_TASK_ID,
    NO_OPTIONS,
    Headers,
    KeyOptions,
    Options,
    Text,
    TriggerBody,
    TriggerOptions,
    body_problems,
    call_of,
    indexed_key,
    own_of,
    shown_key,
    source_of,
)

FUNCTION: Final = "batchTrigger"
TaskId = Annotated[Text, MinLen(1), MaxLen(MAX_TASK_ID)]


class BatchBody(Options):
    """What is announced: how many items will come."""

    runCount: Annotated[int, Field(ge=1, le=MAX_BATCH_RUNS)]  # noqa: N815
    taskIdentifiers: Annotated[list[TaskId], MinLen(1)] | None = None  # noqa: N815
    parentRunId: Text | None = None  # noqa: N815
    resumeParentOnCompletion: bool | None = None  # noqa: N815
    idempotencyKey: Annotated[Text, MaxLen(MAX_KEY)] | None = None  # noqa: N815
    idempotencyKeyOptions: KeyOptions | None = None  # noqa: N815


class ItemBody(TriggerBody):
    """One line of the items: a trigger's body, its place in the batch and its task."""

    index: Annotated[int, Field(ge=0)]
    task: TaskId


class Upload(NamedTuple):
    """What is the same for all lines of one upload."""

    run_count: int
    source: str
    now: datetime
    calls: dict[object, TriggerCall]  # by what they ask for: most items ask for the same


def new_batch(body: BatchBody, headers: Headers) -> NewBatch:
    """Give what a batch is made from. Raise `Refused` for a parent that wants to wait for it."""
    if body.resumeParentOnCompletion:
        raise Refused("resumeParentOnCompletion: this server does not let runs wait for batches")
    key = body.idempotencyKey or None
    return NewBatch(
        run_count=body.runCount,
        tasks=tuple(body.taskIdentifiers or ()),
        idempotency_key=indexed_key(key),
        idempotency_key_shown=shown_key(body.idempotencyKeyOptions) or key,
        request_key=indexed_key(headers.get("x-trigger-request-idempotency-key")),
        parent_run_id=body.parentRunId,
    )


def upload_of(headers: Headers, *, run_count: int, now: datetime) -> Upload:
    """Give what is the same for all lines of an upload."""
    return Upload(run_count, source_of(headers), now, {})


def read_item(line: Line, upload: Upload) -> BatchItem:
    """Give the item of a line.

    A line that is no JSON is `Invalid` (400) and a wrong item is refused (422): whoever wrote them
    has to be told before anything else is believed. What is refused about a right one, as an option
    that is not built, is a failure of that item alone.
    """
    if line.is_too_long:
        return _too_long(line, upload)
    body = _parse(line)
    _check_index(body.index, upload)
    try:
        return _item(body, upload)
    except Refused as refused:
        return _failed(body.index, body.task, ItemFailure(UNPROCESSABLE, str(refused)), upload)
    except Invalid as invalid:
        raise _bad_item(f"item {body.index}", invalid.problems) from None


_OWN_OPTIONS: Final = frozenset({"idempotencyKey", "idempotencyKeyOptions", "idempotencyKeyTTL"})
# What options say but that; items that agree on it ask for the same.
_SHARED: Final = itemgetter(
    *(name for name in TriggerOptions.model_fields if name not in _OWN_OPTIONS)
)


def _item(body: ItemBody, upload: Upload) -> BatchItem:
    """Give the item of a body, with the call of an earlier one that asks for the same."""
    asked = (body.task, _SHARED((body.options or NO_OPTIONS).__dict__))
    try:
        call = upload.calls.get(asked)
    except TypeError:  # lists and objects: tags, metadata
        return BatchItem(body.index, _call(body, upload))
    if call is None:
        call = upload.calls[asked] = _call(body, upload)
        return BatchItem(body.index, call)
    return BatchItem(body.index, call, own=own_of(body, call.payload_type))


def _call(body: ItemBody, upload: Upload) -> TriggerCall:
    return call_of(body, task=body.task, now=upload.now, source=upload.source, function=FUNCTION)


def _parse(line: Line) -> ItemBody:
    try:
        return ItemBody.model_validate_json(line.data)
    except ValidationError as error:
        problems = body_problems(error)
    if problems is None:
        raise Invalid(f"line {line.number}: Invalid JSON")
    raise _bad_item(f"line {line.number}", problems)


def _bad_item(where: str, problems: tuple[Problem, ...]) -> ApiError:
    first = problems[0]
    return ApiError(422, f"{where}: {first.key}: {first.message}", problems=problems)


def _check_index(index: int, upload: Upload) -> None:
    if index >= upload.run_count:
        message = f"should be less than the {upload.run_count} runs that were announced"
        raise _bad_item(f"item {index}", (Problem("index", message),))


def _failed(index: int, task: str, failure: ItemFailure, upload: Upload) -> BatchItem:
    call = TriggerCall(task=task, trigger_function=FUNCTION, trigger_source=upload.source)
    return BatchItem(index, call, failure)


# Clients write both before everything else; what comes after cannot be looked at.
_HEAD: Final = re.compile(
    rb"\s*\{\s*"
    rb'(?:"index"\s*:\s*(?P<index>\d{1,9})\s*,\s*"task"\s*:\s*(?P<task>"(?:[^"\\]|\\.)*")'
    rb'|"task"\s*:\s*(?P<task_2>"(?:[^"\\]|\\.)*")\s*,\s*"index"\s*:\s*(?P<index_2>\d{1,9}))\s*,'
)


def _too_long(line: Line, upload: Upload) -> BatchItem:
    """Give an item whose run has failed; raise 413 when the line does not begin by naming it."""
    head = _HEAD.match(line.data)
    task = None if head is None else _text_of(head["task"] or head["task_2"])
    if head is None or task is None:
        raise ApiError(413, f"line {line.number}: too large, and it does not begin with its index")
    index = int(head["index"] or head["index_2"])
    _check_index(index, upload)
    message = "The item is larger than an item of a batch may be"
    return _failed(index, task, ItemFailure(PAYLOAD_TOO_LARGE, message), upload)


def _text_of(raw: bytes) -> str | None:
    """Give the text of a JSON string if it can be a task's id."""
    try:
        task = json.loads(raw)
        task.encode()
    except ValueError:
        return None
    return task if 0 < len(task) <= MAX_TASK_ID and "\x00" not in task else None
