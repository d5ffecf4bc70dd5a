"""Run a run again."""

from __future__ import annotations

from datetime import datetime

from runs.calls import TriggerCall, Triggered
from runs.models import TaskRun
from runs.placement import Why
from runs.selectors import get_run
from runs.services.trigger import trigger_run
from tenants.credentials import Caller


def replay_run(
    caller: Caller, *, run_id: str, region: str | None, source: str, now: datetime
) -> Triggered:
    """Trigger a new run with what this one was given; its placement is decided anew.

    Copied: task, payload, tags, metadata as given, queue, concurrency key, machine, test. Not:
    delay, ttl, keys, priority, attempts, version. The region is the one named here, else the
    MicroVM group the caller had chosen, else the run's geography. Raise `RunNotFound`, or `Refused`
    for a region that is no longer available.
    """
    run = get_run(environment_id=caller.environment.id, run_id=run_id)
    own_queue = f"task/{run.task_slug}"
    call = TriggerCall(
        task=run.task_slug,
        payload=run.payload,
        payload_type=run.payload_type,
        metadata=run.seed_metadata,
        metadata_type=run.metadata_type,
        tags=tuple(run.tags),
        queue=None if run.queue_name == own_queue else run.queue_name,
        concurrency_key=run.concurrency_key,
        machine=run.machine,
        is_test=run.is_test,
        region=region or _region_of(run),
        replay_of_id=run.id,
        trigger_source=source,
    )
    return trigger_run(caller, call, now=now)


def _region_of(run: TaskRun) -> str | None:
    return run.requested_region if run.why == Why.PINNED else run.region
