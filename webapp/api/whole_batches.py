"""A batch in one request, as older clients send it: what is announced, and every item of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from annotated_types import MaxLen, MinLen
from django.http import HttpRequest, JsonResponse
from ninja import Router

from runs.batches import UNPROCESSABLE, BatchItem, ItemFailure
from runs.calls import TriggerCall
from runs.services.batch_items import add_items, get_open_batch
from tenants.errors import Invalid, Problem, Refused
from webapp.api.auth import environment_key
from webapp.api.batch_body import FUNCTION, BatchBody, TaskId, new_batch
from webapp.api.batches import batch_claims, make_batch
from webapp.api.runs import caller_of
from webapp.api.trigger_body import (
    MAX_KEY,
    Headers,
    Options,
    Text,
    TriggerBody,
    call_of,
    source_of,
)

router = Router(auth=environment_key, tags=["batches"])

MAX_ITEMS: Final = 500  # written together: they are there, or none of them is


class WholeItem(TriggerBody):
    """A trigger's body and its task; its place in the list is its place in the batch."""

    task: TaskId


class WholeBatch(Options):
    """All of a batch."""

    items: Annotated[list[WholeItem], MinLen(1), MaxLen(MAX_ITEMS)]
    parentRunId: Text | None = None  # noqa: N815
    resumeParentOnCompletion: bool | None = None  # noqa: N815


@router.post("/v2/tasks/batch", operation_id="trigger_whole_batch", response={202: Any})
def trigger_whole(request: HttpRequest, body: WholeBatch) -> JsonResponse:
    """Trigger up to 500 runs in one request; the same key or request gives the same batch.

    Whoever repeats an unanswered one gets the batch of the first, with the items of the first.
    """
    caller, headers, now = caller_of(request), Headers(request.META), datetime.now(UTC)
    items = [_item(index, item, headers, now) for index, item in enumerate(body.items)]
    made = make_batch(caller, new_batch(_announcement(body, headers), headers))
    batch = get_open_batch(environment_id=caller.environment.id, batch_id=made.id)
    add_items(caller, batch, items[: made.run_count], now=now)
    answer = {"id": made.id, "runCount": made.run_count}
    return JsonResponse(answer, status=202, headers=batch_claims(caller, made.id))


def _announcement(body: WholeBatch, headers: Headers) -> BatchBody:
    key = headers.get("idempotency-key") or None
    if key is not None and len(key) > MAX_KEY:
        message = f"should be at most {MAX_KEY} characters"
        raise Invalid(f"idempotency-key: {message}", (Problem("idempotency-key", message),))
    return BatchBody(
        runCount=len(body.items),
        taskIdentifiers=[item.task for item in body.items],
        parentRunId=body.parentRunId,
        resumeParentOnCompletion=body.resumeParentOnCompletion,
        idempotencyKey=key,
    )


def _item(index: int, item: WholeItem, headers: Headers, now: datetime) -> BatchItem:
    """Give an item. What is refused about it is a failure of that item alone."""
    source = source_of(headers)
    try:
        call = call_of(item, task=item.task, now=now, source=source, function=FUNCTION)
    except Refused as refused:
        call = TriggerCall(task=item.task, trigger_function=FUNCTION, trigger_source=source)
        return BatchItem(index, call, ItemFailure(UNPROCESSABLE, str(refused)))
    except Invalid as invalid:
        where = f"items.{index}"
        problems = tuple(Problem(f"{where}.{one.key}", one.message) for one in invalid.problems)
        raise Invalid(f"{where}.{invalid}", problems) from None
    return BatchItem(index, call)
