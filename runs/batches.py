"""What a batch is: the items it is handed, and what its state is read from. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from runs.calls import TriggerCall

MAX_BATCH_RUNS = 1000
KEY_HOURS = 24  # how long a batch is found again by its key, or by that of its request


class BatchStatus(StrEnum):
    """Where a batch stands, read from its items and their runs."""

    PENDING = "PENDING"  # no item has arrived
    PROCESSING = "PROCESSING"  # items or runs are still missing
    COMPLETED = "COMPLETED"  # every item became a run, and all of them are over
    PARTIAL_FAILED = "PARTIAL_FAILED"  # all items arrived, and some could not become runs
    ABORTED = "ABORTED"  # all items arrived, and none could become a run


class ItemFailure(NamedTuple):
    """Why an item is no run that could be executed."""

    code: str
    message: str


UNPROCESSABLE = "UNPROCESSABLE"
TOO_LARGE = "TOO_LARGE"
PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
"""The item itself was too large to be read: it becomes a run that has failed."""


class Own(NamedTuple):
    """What an item does not share with those that ask for the same; the fields of its call."""

    payload: str | None
    idempotency_key: str | None
    idempotency_key_shown: str | None
    idempotency_key_ttl_s: int


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One item as it arrived; `failure` when it cannot be what it asks for."""

    index: int  # its place in the batch, from 0
    call: TriggerCall  # what it asks for; items that ask for the same may share one object
    failure: ItemFailure | None = None
    own: Own | None = None  # what takes the place of the call's; None: nothing does


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What a batch is made from."""

    run_count: int
    tasks: tuple[str, ...] = ()  # as the caller announces them; part of what its key is about
    idempotency_key: str | None = None
    idempotency_key_shown: str | None = None
    request_key: str | None = None  # the same on every repeat of one request
    parent_run_id: str | None = None


class OpenBatch(NamedTuple):
    """A batch that items are added to."""

    id: str
    run_count: int
    created_at: datetime
    parent_run_id: str | None
    is_sealed: bool
    item_count: int


class CreatedBatch(NamedTuple):
    """The batch that was made, or that has the request's key."""

    id: str
    run_count: int
    is_cached: bool  # it has all its items: nothing is left to send
    is_new: bool
    idempotency_key_shown: str | None


class Added(NamedTuple):
    """What became of some items."""

    accepted: int
    deduplicated: int  # were there already
    is_sealed: bool
    item_count: int  # of the batch, now


class Tally(NamedTuple):
    """What the state of a batch is decided from."""

    run_count: int
    items: int
    failed: int  # of the items
    unfinished: int  # of the runs


def decide_batch_status(tally: Tally) -> BatchStatus:
    """Give the state of a batch.

    Rule: without items it is pending; until all are there it is processing; then what could not
    become a run decides, and last whether every run is over.

    >>> decide_batch_status(Tally(run_count=2, items=2, failed=0, unfinished=0)).value
    'COMPLETED'
    """
    if tally.items == 0:
        return BatchStatus.PENDING
    if tally.items < tally.run_count:
        return BatchStatus.PROCESSING
    if tally.failed == tally.run_count:
        return BatchStatus.ABORTED
    if tally.failed:
        return BatchStatus.PARTIAL_FAILED
    return BatchStatus.PROCESSING if tally.unfinished else BatchStatus.COMPLETED
