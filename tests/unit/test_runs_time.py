"""Time in the engine, the pure parts: silence, places, retention, and when beat is due."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from celery.beat import Scheduler

from ledger.ids import new_id
from runs.books import ALLOWED, RIGHT, Place, decide_repair
from runs.books import Repair as BookRepair
from runs.reconciler_records import Fixed
from runs.retention import kept_since
from runs.retry import MAX_DELIVERIES, dispatch_delay_ms, redelivery_delay_ms
from runs.stalls import Repair, Stalled, decide_stall
from runs.states import LEASED, ExecutionStatus
from runs.tasks import ALL_RECONCILERS
from webapp.celery_app import app
from webapp.celery_settings import RECONCILE_EVERY_S
from webapp.env import InvalidEnvironment, read_env

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STALLED = "TASK_RUN_STALLED_EXECUTING"
SILENT = {
    "PENDING_EXECUTING": Stalled(Repair.REDELIVER),
    "EXECUTING": Stalled(Repair.FAIL_ATTEMPT, STALLED),
    "EXECUTING_WITH_WAITPOINTS": Stalled(Repair.FAIL_ATTEMPT, f"{STALLED}_WITH_WAITPOINTS"),
    "PENDING_CANCEL": Stalled(Repair.CONFIRM_CANCEL),
}
REQUIRED = {
    "DJANGO_SECRET_KEY": "x",
    "CROSSFADE_ENCRYPTION_KEYS": "x",
    "MANAGED_WORKER_SECRET": "x",
    "DATABASE_URL": "x",
    "REDIS_URL": "x",
}
# variable -> (field, default), as the worker protocol has them
TIMES = {
    "RUN_ENGINE_TIMEOUT_PENDING_EXECUTING": ("timeout_pending_executing_ms", 60_000),
    "RUN_ENGINE_TIMEOUT_EXECUTING": ("timeout_executing_ms", 300_000),
    "RUN_ENGINE_TIMEOUT_EXECUTING_WITH_WAITPOINTS": (
        "timeout_executing_with_waitpoints_ms",
        300_000,
    ),
    "RUN_ENGINE_TIMEOUT_PENDING_CANCEL": ("timeout_pending_cancel_ms", 60_000),
    "RUN_ENGINE_TIMEOUT_SUSPENDED": ("timeout_suspended_ms", 600_000),
    "RUN_ENGINE_MAX_DURATION_GRACE_MS": ("max_duration_grace_ms", 60_000),
}
RETENTION = {"free": 30, "paid": 90, "enterprise": 365}


@pytest.mark.parametrize("status", list(ExecutionStatus))
def test_what_silence_means_in_each_status(status: ExecutionStatus) -> None:
    """Each status has its repair, and only what is in somebody's hands can fall silent."""
    found = decide_stall(status)
    assert found == SILENT.get(status)
    assert found is None or status in LEASED


@pytest.mark.parametrize("name", sorted(TIMES))
def test_each_time_is_a_setting(name: str) -> None:
    """Unset it is the default; set it is what is set; anything but a whole number is refused."""
    field, default = TIMES[name]
    assert getattr(read_env(REQUIRED), field) == default
    assert getattr(read_env({**REQUIRED, name: "7"}), field) == 7
    with pytest.raises(InvalidEnvironment, match=name):
        read_env({**REQUIRED, name: "1.5"})


@pytest.mark.parametrize("plan", sorted(RETENTION))
def test_each_plan_keeps_runs_for_its_days(plan: str) -> None:
    """Unset they are the defaults; set, one plan's are what is set; only whole numbers are taken."""
    name = f"RUN_RETENTION_DAYS_{plan.upper()}"
    assert read_env(REQUIRED).retention_days == RETENTION
    assert read_env({**REQUIRED, name: "7"}).retention_days == {**RETENTION, plan: 7}
    with pytest.raises(InvalidEnvironment, match=name):
        read_env({**REQUIRED, name: "1.5"})


def test_no_plan_keeps_runs_for_longer_than_a_century() -> None:
    """A number of days that no calendar has is a slip of the hand."""
    with pytest.raises(InvalidEnvironment, match="RUN_RETENTION_DAYS_PAID"):
        read_env({**REQUIRED, "RUN_RETENTION_DAYS_PAID": "36501"})


def test_redelivery_doubles_up_to_an_hour() -> None:
    """1 s x 2^(n-1) x [1, 2), at most an hour; eleven of them, and the twelfth loss ends the run."""
    assert MAX_DELIVERIES == 12
    seconds = [redelivery_delay_ms(loss, jitter=0) / 1000 for loss in range(1, MAX_DELIVERIES)]
    assert seconds == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert redelivery_delay_ms(3, jitter=0.999) == 7996
    assert {redelivery_delay_ms(loss, jitter=0.5) for loss in (13, 20, 1000)} == {3_600_000}


def test_a_workload_that_cannot_be_started_is_tried_again_within_a_minute() -> None:
    """1 s x 2^n, at most 60 s."""
    delays = [dispatch_delay_ms(failed) / 1000 for failed in range(8)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("status", list(ExecutionStatus))
def test_every_repair_leaves_a_run_in_a_right_place(status: ExecutionStatus) -> None:
    """Wherever a run of any status is found, it is in one allowed place afterwards, and stays."""
    subsets = itertools.chain.from_iterable(
        itertools.combinations(Place, size) for size in range(len(Place) + 1)
    )
    for found in map(frozenset, subsets):
        repair = decide_repair(status, found)
        after = _after(repair, found)
        assert decide_repair(status, after) is None
        is_right = ",".join(sorted(found)) in {right.partition(":")[2] for right in _right(status)}
        assert (repair is None) == is_right
        assert len(after) == (1 if ALLOWED[status] else 0)


def _after(repair: BookRepair | None, found: frozenset[Place]) -> frozenset[Place]:
    if repair is None:
        return found
    entered = frozenset() if repair.enter is None else frozenset({repair.enter})
    return found - repair.leave | entered


def _right(status: ExecutionStatus) -> list[str]:
    return [right for right in RIGHT if right.startswith(f"{status}:")]


def test_retention_by_plan() -> None:
    """Each plan has its own moment, and none with 0 days; ids before it are smaller."""
    (free, enterprise) = kept_since({"free": 7, "paid": 0, "enterprise": 365}, now=NOW)
    assert (free.plan, enterprise.plan) == ("free", "enterprise")
    assert free.since == NOW - timedelta(days=7)
    ms = int(free.since.timestamp() * 1000)
    assert (
        new_id("run", now_us=ms * 1000 - 1) < free.since_id("run") < new_id("run", now_us=ms * 1000)
    )


def test_what_was_found_is_what_was_fixed_unless_it_is_said() -> None:
    """A result counts as its number, and carries what was found."""
    assert (Fixed(3), Fixed(3).found) == (3, 3)
    assert (Fixed(3, found=5) + 1, Fixed(3, found=5).found) == (4, 5)


def test_every_reconciler_is_driven_by_beat() -> None:
    """None is forgotten, and none is driven that does not exist."""
    assert set(RECONCILE_EVERY_S) == set(ALL_RECONCILERS)


def test_a_new_beat_is_due_at_once() -> None:
    """What is done each hour is done soon after the start, however short beat's lives are."""
    schedule = Scheduler(app=app, lazy=True)
    schedule.setup_schedule()
    entries = [schedule.schedule[name] for name in RECONCILE_EVERY_S]
    assert all(entry.is_due()[0] for entry in entries)
