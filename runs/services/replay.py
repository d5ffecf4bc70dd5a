"""Run a run again."""

from __future__ import annotations

from datetime import datetime

from deployments.environment_entry import entry_for
from deployments.regions import unmanaged_queue
from runs.base import base_for
from runs.calls import TriggerCall, Triggered
from runs.models import TaskRun
from runs.placement import Why
from runs.selectors import get_run
from runs.services.trigger import trigger_run
from tenants.credentials import Caller
from tenants.errors import Refused


def replay_run(
    caller: Caller,
    *,
    run_id: str,
    region: str | None,
    source: str,
    now: datetime,
    request_key: str | None = None,
) -> Triggered:
    """Trigger a new run with what this one was given; its placement is decided anew.

    Copied: task, payload, tags, metadata as given, queue, concurrency key, machine, test. Not:
    delay, ttl, keys, priority, attempts, version. The region is the one named here, else the
    MicroVM group that was chosen, else the run's geography. A request key makes a repeat of the
    call give the run of the first. Raise `RunNotFound`, or `Refused` for a
    region that is no longer available.
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
        region=region or _region_of(caller, run),
        replay_of_id=run.id,
        trigger_source=source,
        request_key=request_key,
    )
    return trigger_run(caller, call, now=now)


def _region_of(caller: Caller, run: TaskRun) -> str | None:
    """Give the region that a replay asks for when its caller names none.

    **Rule** a run in a MicroVM group that was chosen, by its call or as its project's default, or
    in a group of its project's own, stays in that very group, which a label would not mean; every
    other one goes by its geography.
    """
    is_own = run.worker_queue.startswith(unmanaged_queue(run.project_id, ""))
    if run.why != Why.PINNED and not is_own:
        return run.region
    if run.requested_region is not None:
        return run.requested_region
    # As a default the group needs no gate; by its name it would.
    return None if _default_queue(caller) == run.worker_queue else run.worker_queue


def _default_queue(caller: Caller) -> str | None:
    """Give the worker queue of a run that names no region; None when there is none."""
    try:
        base = base_for(caller, entry_for(caller.environment.id), None)
    except Refused:
        return None
    return base.placement_input.base.queue
