"""The tables of runs; Django finds models here. Nothing outside `runs` imports them."""

from runs.models.batch import Batch, BatchBucket, BatchItem, BatchKey
from runs.models.bulk import BulkAction, BulkActionRun
from runs.models.load import HourlyCount
from runs.models.queue import (
    DelayedEntry,
    EnvironmentSlots,
    EnvironmentTurn,
    Lane,
    Lease,
    Presence,
    QueueSlots,
    ReadyEntry,
    VersionWait,
)
from runs.models.reconciler import ReconcilerRecord
from runs.models.run import IdempotencyKey, RequestKey, RunLog, RunSnapshot, TaskRun

__all__ = [
    "Batch",
    "BatchBucket",
    "BatchItem",
    "BatchKey",
    "BulkAction",
    "BulkActionRun",
    "DelayedEntry",
    "EnvironmentSlots",
    "EnvironmentTurn",
    "HourlyCount",
    "IdempotencyKey",
    "Lane",
    "Lease",
    "Presence",
    "QueueSlots",
    "ReadyEntry",
    "ReconcilerRecord",
    "RequestKey",
    "RunLog",
    "RunSnapshot",
    "TaskRun",
    "VersionWait",
]
