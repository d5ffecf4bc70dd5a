"""Read batches, always within one environment, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runs.batches import BatchStatus, Tally, decide_batch_status
from runs.errors import BatchNotFound
from runs.models import Batch, BatchItem, TaskRun
from runs.states import FINAL


@dataclass(frozen=True, slots=True)
class BatchError:
    """An item that could not become a run."""

    index: int
    task: str
    message: str
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch as it stands."""

    id: str
    status: BatchStatus
    run_count: int
    run_ids: list[str]  # in the order of the items
    errors: list[BatchError]
    idempotency_key_shown: str | None
    created_at: datetime
    updated_at: datetime
    sealed_at: datetime | None


def get_batch(*, environment_id: str, batch_id: str) -> BatchView:
    """Give a batch with the runs and errors of its items, or raise `BatchNotFound`."""
    batch = _get(environment_id, batch_id)
    items = list(BatchItem.objects.filter(batch_id=batch.id).order_by("item_index"))
    run_ids = [item.run_id for item in items if item.run_id is not None]
    errors = [
        BatchError(item.item_index, item.task_slug, item.error, item.error_code)
        for item in items
        if item.error is not None
    ]
    unfinished = TaskRun.objects.filter(id__in=run_ids).exclude(status__in=FINAL).count()
    return BatchView(
        id=batch.id,
        status=decide_batch_status(Tally(batch.run_count, len(items), len(errors), unfinished)),
        run_count=batch.run_count,
        run_ids=run_ids,
        errors=errors,
        idempotency_key_shown=batch.idempotency_key_shown,
        created_at=batch.created_at,
        updated_at=batch.updated_at,
        sealed_at=batch.sealed_at,
    )


def list_finished_runs(*, environment_id: str, batch_id: str) -> list[TaskRun]:
    """Give the runs of a batch that are over, in the order of its items; `BatchNotFound`."""
    batch = _get(environment_id, batch_id)
    items = BatchItem.objects.filter(batch_id=batch.id, run_id__isnull=False)
    ordered = list(items.order_by("item_index").values_list("run_id", flat=True))
    found = {
        run.id: run
        for run in TaskRun.objects.filter(
            id__in=ordered, environment_id=environment_id, status__in=FINAL
        ).defer("payload", "seed_metadata")
    }
    return [found[run_id] for run_id in ordered if run_id in found]


def _get(environment_id: str, batch_id: str) -> Batch:
    batch = Batch.objects.filter(id=batch_id, environment_id=environment_id).first()
    if batch is None:
        raise BatchNotFound(batch_id)
    return batch
