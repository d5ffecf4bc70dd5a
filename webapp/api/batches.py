"""The public routes of batches: announce one, send its items, read what became of them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, JsonResponse, UnreadablePostError
from ninja import Router

from ledger.connections import release_connections
from runs.batch_selectors import BatchView, get_batch, list_finished_runs
from runs.batches import Added, BatchItem, CreatedBatch, NewBatch, OpenBatch
from runs.errors import BatchLimited, BatchNotFound
from runs.services.batch_items import add_items, get_open_batch
from runs.services.batches import BatchRate, create_batch
from tenants.credentials import Caller
from webapp.api.auth import environment_key
from webapp.api.batch_body import BatchBody, new_batch, read_item, upload_of
from webapp.api.errors import ApiError
from webapp.api.ndjson import lines_of
from webapp.api.run_answers import iso, result_answer
from webapp.api.runs import RETRY, caller_of
from webapp.api.trigger_body import Headers
from webapp.middleware import BATCH_BYTES, BATCH_ITEM_BYTES, drain

router = Router(auth=environment_key, tags=["batches"])

ITEM_TYPES: Final = ("application/x-ndjson", "application/ndjson")
PIECE_ITEMS: Final = 500
PIECE_BYTES: Final = 4 * 1024 * 1024
PIECE_S: Final = 0.2  # how long an item waits for others at most, while they keep coming


@router.post("/v3/batches", operation_id="create_batch", response={200: Any, 202: Any})
def create(request: HttpRequest, body: BatchBody) -> JsonResponse:
    """Announce a batch; the same key within a day gives the same one."""
    caller = caller_of(request)
    return _created_answer(caller, make_batch(caller, new_batch(body, Headers(request.META))))


def make_batch(caller: Caller, new: NewBatch) -> CreatedBatch:
    """Make a batch, or give the one that holds its key; 429 when too many items are announced."""
    rate, now = settings.ENV.batch_rate_limit, datetime.now(UTC)
    try:
        return create_batch(caller, new, rate=None if rate is None else BatchRate(*rate), now=now)
    except BatchLimited as limited:
        raise _too_many(limited, now=now) from None


def _created_answer(caller: Caller, created: CreatedBatch) -> JsonResponse:
    answer: dict[str, Any] = {
        "id": created.id,
        "runCount": created.run_count,
        "isCached": created.is_cached,
    }
    if created.idempotency_key_shown is not None:
        answer["idempotencyKey"] = created.idempotency_key_shown
    return JsonResponse(
        answer,
        status=200 if created.is_cached else 202,
        headers=batch_claims(caller, created.id),
    )


def batch_claims(caller: Caller, batch_id: str) -> dict[str, str]:
    """Give the header with what a token says that may read a batch."""
    scopes = f'["read:batch:{batch_id}"]'
    claims = f'{{"sub":"{caller.environment.id}","pub":true,"scopes":{scopes}}}'
    return {"x-trigger-jwt-claims": claims}


def _too_many(limited: BatchLimited, *, now: datetime) -> ApiError:
    wait_s = max(0.0, (limited.reset_at - now).total_seconds())
    headers = {
        "x-ratelimit-limit": str(limited.limit),
        "x-ratelimit-remaining": str(limited.remaining),
        "x-ratelimit-reset": str(math.ceil(limited.reset_at.timestamp() * 1000)),
        "Retry-After": str(math.ceil(wait_s)),
    }
    return ApiError(429, str(limited), headers=headers)


@router.post(
    "/v3/batches/{batch_id}/items",
    operation_id="add_batch_items",
    response=Any,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "One JSON object a line: index, task, payload, options of a trigger.",
            "content": {ITEM_TYPES[0]: {"schema": {"type": "string"}}},
        }
    },
)
def items(request: HttpRequest, batch_id: str) -> dict[str, Any]:
    """Take items as they arrive, one JSON object a line; the last one seals the batch."""
    try:
        kind = (request.content_type or "").lower()
        if kind not in ITEM_TYPES:
            raise ApiError(415, f"The content type should be {ITEM_TYPES[0]}")
        caller = caller_of(request)
        batch = get_open_batch(environment_id=caller.environment.id, batch_id=batch_id)
        return _items_answer(batch, _take(request, caller, batch))
    finally:
        with suppress(UnreadablePostError):  # nobody is there any more to hear the answer
            drain(request)


def _take(request: HttpRequest, caller: Caller, batch: OpenBatch) -> Added:
    """Write the items of an upload, piece by piece; give what became of all of them."""
    accepted = deduplicated = 0
    is_sealed, item_count = batch.is_sealed, batch.item_count
    if is_sealed:
        return Added(0, 0, is_sealed, item_count)
    for piece in pieces_of(_read_items(request, batch)):
        added = add_items(caller, batch, piece, now=datetime.now(UTC))
        accepted += added.accepted
        deduplicated += added.deduplicated
        is_sealed, item_count = added.is_sealed, added.item_count
        if is_sealed:
            break
        release_connections()  # the next piece may be long in coming
    return Added(accepted, deduplicated, is_sealed, item_count)


def _read_items(request: HttpRequest, batch: OpenBatch) -> Iterator[tuple[BatchItem, int]]:
    """Give each item with its size, as they arrive."""
    upload = upload_of(Headers(request.META), run_count=batch.run_count, now=datetime.now(UTC))
    size = 0

    def read(most: int) -> bytes:
        nonlocal size
        try:
            piece = request.read(most)
        except UnreadablePostError:
            raise ApiError(400, "The upload ended before its time") from None
        size += len(piece)
        if size > BATCH_BYTES:
            raise ApiError(413, f"Request body too large: at most {BATCH_BYTES} bytes")
        return piece

    for line in lines_of(read, most_bytes=BATCH_ITEM_BYTES):
        yield read_item(line, upload), len(line.data)


def pieces_of(items: Iterable[tuple[BatchItem, int]]) -> Iterator[list[BatchItem]]:
    """Gather items that are written together: many, but not for long and not for much memory."""
    piece: list[BatchItem] = []
    size, began = 0, time.monotonic()
    for item, item_bytes in items:
        piece.append(item)
        size += item_bytes
        full = len(piece) >= PIECE_ITEMS or size >= PIECE_BYTES
        if full or time.monotonic() - began > PIECE_S:
            yield piece
            piece, size, began = [], 0, time.monotonic()
    if piece:
        yield piece


def _items_answer(batch: OpenBatch, added: Added) -> dict[str, Any]:
    answer = {
        "id": batch.id,
        "itemsAccepted": added.accepted,
        "itemsDeduplicated": added.deduplicated,
        "sealed": added.is_sealed,
        "runCount": batch.run_count,
    }
    if added.is_sealed:
        return answer
    return answer | {"enqueuedCount": added.item_count, "expectedCount": batch.run_count}


@router.get("/v2/batches/{batch_id}", operation_id="get_batch", response=Any)
def get_one(request: HttpRequest, batch_id: str) -> dict[str, Any]:
    """Give a batch. Unknown: 404 that may be repeated, as of a run."""
    try:
        batch = get_batch(environment_id=caller_of(request).environment.id, batch_id=batch_id)
    except BatchNotFound:
        raise ApiError(404, "Not found", headers=RETRY) from None
    return batch_answer(batch)


def batch_answer(batch: BatchView) -> dict[str, Any]:
    """Give a batch as the public protocol has it."""
    errors = [
        {
            "index": error.index,
            "taskIdentifier": error.task,
            "error": error.message,
            "errorCode": error.code,
        }
        for error in batch.errors
    ]
    processing: dict[str, Any] = {"errors": errors}
    if batch.sealed_at is not None:
        processing["completedAt"] = iso(batch.sealed_at)
    answer: dict[str, Any] = {
        "id": batch.id,
        "status": batch.status.value,
        "createdAt": iso(batch.created_at),
        "updatedAt": iso(batch.updated_at),
        "runCount": batch.run_count,
        "runs": batch.run_ids,
        "processing": processing,
    }
    if batch.idempotency_key_shown is not None:
        answer["idempotencyKey"] = batch.idempotency_key_shown
    return answer


@router.get("/v1/batches/{batch_id}/results", operation_id="get_batch_results", response=Any)
def results(request: HttpRequest, batch_id: str) -> dict[str, Any]:
    """Give what the runs of a batch that are over returned or raised, in the order of its items."""
    environment_id = caller_of(request).environment.id
    runs = list_finished_runs(environment_id=environment_id, batch_id=batch_id)
    return {"id": batch_id, "items": [result_answer(run) for run in runs]}
