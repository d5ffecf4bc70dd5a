"""Read runs, always within one environment (staff excepted), as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from ledger.ids import encode_ms
from runs.errors import RunNotFound
from runs.models import BulkActionRun, RunLog, RunSnapshot, TaskRun
from runs.pages import page_of
from runs.run_filter import RunFilter

RunView = TaskRun
"""A run as others read it: the row itself, of which nobody else may write a column."""
SnapshotView = RunSnapshot
LogView = RunLog

MAX_CHILDREN = 100
LOG_PAGE = 500


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of runs, newest first, and the cursors of its neighbours."""

    runs: list[TaskRun]
    next: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class RunFamily:
    """A run with the runs it belongs to."""

    run: TaskRun
    root: TaskRun | None
    parent: TaskRun | None
    children: list[TaskRun]


_UNREAD_IN_LISTS = ("payload", "output", "error", "seed_metadata")


def get_run(*, environment_id: str, run_id: str) -> TaskRun:
    """Give a run of an environment, or raise `RunNotFound`."""
    return _get(Q(id=run_id, environment_id=environment_id), run_id)


def get_run_among(*, environment_ids: Sequence[str], run_id: str) -> TaskRun:
    """Give a run of one of these environments, or raise `RunNotFound`."""
    return _get(Q(id=run_id, environment_id__in=environment_ids), run_id)


def get_any_run(run_id: str) -> TaskRun:
    """Give a run of any tenant; for staff and the engine only."""
    return _get(Q(id=run_id), run_id)


def _get(condition: Q, run_id: str) -> TaskRun:
    run = TaskRun.objects.filter(condition).first()
    if run is None:
        raise RunNotFound(run_id)
    return run


def get_family(*, environment_id: str, run_id: str) -> RunFamily:
    """Give a run with its root, its parent and its newest children, or raise `RunNotFound`."""
    run = get_run(environment_id=environment_id, run_id=run_id)
    related = TaskRun.objects.filter(environment_id=environment_id).defer(*_UNREAD_IN_LISTS)
    elders = {
        elder.id: elder
        for elder in related.filter(id__in={run.root_run_id, run.parent_run_id} - {None})
    }
    children = list(related.filter(parent_run_id=run.id).order_by("-id")[:MAX_CHILDREN])
    return RunFamily(
        run,
        elders.get(run.root_run_id or ""),
        elders.get(run.parent_run_id or ""),
        children,
    )


def list_runs(
    *,
    environment_ids: Sequence[str],
    wanted: RunFilter,
    size: int,
    after: str | None = None,
    before: str | None = None,
) -> RunPage:
    """Give a page of runs, newest first. Cursors are run ids; `before` wins over `after`."""
    rows = TaskRun.objects.filter(condition_of(wanted), environment_id__in=environment_ids).defer(
        *_UNREAD_IN_LISTS
    )
    return RunPage(*page_of(rows, size=size, after=after, before=before))


def condition_of(wanted: RunFilter) -> Q:
    """Give the condition of a filter, without that of whose runs they are."""
    condition = Q()
    for column, values in (
        ("status", wanted.statuses),
        ("task_slug", wanted.tasks),
        ("queue_name", wanted.queues),
        ("version", wanted.versions),
        ("machine", wanted.machines),
        ("region", wanted.regions),
        ("batch_id", wanted.batches),
    ):
        if values:
            condition &= Q(**{f"{column}__in": values})
    if wanted.tags:
        # the second says what the index leaves out
        condition &= Q(tags__overlap=list(wanted.tags)) & ~Q(tags=[])
    if wanted.bulk_actions:
        reached = BulkActionRun.objects.filter(bulk_action_id__in=wanted.bulk_actions)
        condition &= Q(id__in=reached.values("result_id"))
    if wanted.is_test is not None:
        condition &= Q(is_test=wanted.is_test)
    return condition & _created(wanted)


def _created(wanted: RunFilter) -> Q:
    """Bound the ids, whose time is the creation time, so that the list's index bounds the scan."""
    condition = Q()
    if wanted.created_from is not None:
        condition &= Q(id__gte=f"run_{_time_of(wanted.created_from)}")
    if wanted.created_to is not None:
        condition &= Q(id__lt=f"run_{_time_of(wanted.created_to, plus_ms=1)}")
    return condition


def _time_of(at: datetime, *, plus_ms: int = 0) -> str:
    return encode_ms(max(0, int(at.timestamp() * 1000) + plus_ms))


def list_snapshots(run_id: str) -> list[RunSnapshot]:
    """Give every snapshot of a run, oldest first."""
    return list(RunSnapshot.objects.filter(run_id=run_id).order_by("id"))


def get_snapshot(run_id: str, snapshot_id: str) -> RunSnapshot:
    """Give one snapshot of a run, or raise `RunNotFound`."""
    snapshot = RunSnapshot.objects.filter(run_id=run_id, id=snapshot_id).first()
    if snapshot is None:
        raise RunNotFound(run_id)
    return snapshot


def list_snapshots_since(run_id: str, snapshot_id: str, *, limit: int = 50) -> list[RunSnapshot]:
    """Give the newest valid snapshots after one of this run's, oldest first."""
    get_snapshot(run_id, snapshot_id)
    newer = RunSnapshot.objects.filter(run_id=run_id, id__gt=snapshot_id, is_valid=True)
    return list(newer.order_by("-id")[:limit])[::-1]


def list_logs(
    *, run_id: str, attempt: int | None, after: str | None, contains: str = ""
) -> tuple[list[RunLog], str | None]:
    """Give a page of a run's lines in order and the cursor of the next, None on the last page.

    With `contains` only those that have it, in any case; a run keeps few enough lines to look at.
    """
    rows = RunLog.objects.filter(run_id=run_id)
    if contains:
        rows = rows.filter(text__icontains=contains)
    if attempt is not None:
        rows = rows.filter(attempt=attempt)
    position = _log_position(after)
    if position is not None:
        rows = rows.filter(Q(attempt__gt=position[0]) | Q(attempt=position[0], seq__gt=position[1]))
    found = list(rows.order_by("attempt", "seq")[: LOG_PAGE + 1])
    shown = found[:LOG_PAGE]
    more = len(found) > LOG_PAGE
    return shown, f"{shown[-1].attempt}.{shown[-1].seq}" if more else None


def _log_position(after: str | None) -> tuple[int, int] | None:
    attempt, _, seq = (after or "").partition(".")
    return (int(attempt), int(seq)) if attempt.isdecimal() and seq.isdecimal() else None
