"""The tables of runs; Django finds models here. Nothing outside `runs` imports them."""

from runs.models.queue import (
    DelayedEntry,
    EnvironmentSlots,
    EnvironmentTurn,
    Lane,
    Lease,
    QueueSlots,
    ReadyEntry,
    VersionWait,
)
from runs.models.run import IdempotencyKey, RequestKey, RunLog, RunSnapshot, TaskRun

__all__ = [
    "DelayedEntry",
    "EnvironmentSlots",
    "EnvironmentTurn",
    "IdempotencyKey",
    "Lane",
    "Lease",
    "QueueSlots",
    "ReadyEntry",
    "RequestKey",
    "RunLog",
    "RunSnapshot",
    "TaskRun",
    "VersionWait",
]
