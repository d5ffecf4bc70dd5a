"""What the control room says when runs wait although everything seems to live."""

from __future__ import annotations

import re
from html import unescape

import pytest

from runs.bookkeeping import NAME as BOOKS
from runs.contracts import DispatchFailed
from runs.reconciler_records import record_failure, record_run
from runs.services.leases import fail_dispatch
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.operating import Staff, make_staff, run_reconcilers
from tests.running import change

pytestmark = pytest.mark.django_db

ROOM = "/admin/migration/"
RECONCILERS = "/admin/reconcilers/"
MOVE = "/admin/migration/move-queued/"


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser, of a control plane whose reconcilers run."""
    run_reconcilers()
    return make_staff()


@pytest.fixture
def migration() -> Migrating:
    """Give an enrolled organization with a live backing."""
    made = make_migrating(plan="paid")
    made.set_flags(EVERYONE)
    return made


def banners(staff: Staff) -> list[str]:
    """Give the banners of the control room, each with its link."""
    found = re.findall(r'data-testid="banner">(.*?)</p>', staff.page(ROOM), re.DOTALL)
    return [" ".join(unescape(one).split()) for one in found]


def wait_s(run_id: str, seconds: int) -> None:
    """Let a run have been queued so long ago."""
    change("UPDATE runs_taskrun SET score = score - %s WHERE id = %s", seconds * 1000, run_id)
    change(
        "UPDATE runs_readyentry SET score = score - %s WHERE run_id = %s", seconds * 1000, run_id
    )
    change("SET LOCAL session_replication_role = 'replica'")  # snapshots are append-only
    change(
        "UPDATE runs_runsnapshot SET created_at = created_at - make_interval(secs => %s)", seconds
    )
    change("SET LOCAL session_replication_role = 'origin'")


def test_a_live_backing_that_cannot_start_anything_is_an_alarm(
    staff: Staff, migration: Migrating
) -> None:
    """The gateway is away and the supervisor lives: the reason is said, and the way out offered."""
    run_id = migration.world.trigger()
    wait_s(run_id, 150)
    message = migration.as_backing.lease_one()
    fail_dispatch(
        run_id=run_id,
        snapshot_id=message.snapshot.friendlyId,
        failure=DispatchFailed(reason="no_capacity", message="no answer", permanent=False),
        scope=migration.as_backing.scope,
        mover=migration.as_backing.mover(),
    )
    (banner,) = banners(staff)
    assert banner.startswith(
        f"Starts on {migration.backing_queue} fail: 1 run was handed back and cannot begin, the"
        " oldest for 2 min. No workload could be started (no_capacity): no answer."
    )
    assert f'href="{MOVE}"' in banner
    assert f"{migration.backing_queue} live, but starts fail" in staff.page(ROOM)


def test_a_group_that_takes_nothing_is_an_alarm(staff: Staff, migration: Migrating) -> None:
    """Its supervisor lives, has nothing to do and leaves what waits where it is."""
    run_id = migration.world.trigger()
    assert banners(staff) == []  # it has only just come
    assert f"{migration.backing_queue} live, 1 waits" in staff.page(ROOM)
    wait_s(run_id, 70)
    (banner,) = banners(staff)
    said = f"Nobody takes what waits on {migration.backing_queue}: 1 run, the oldest for 1 min."
    assert banner.startswith(said)


def test_a_dead_backing_says_how_much_waits_for_it(staff: Staff, migration: Migrating) -> None:
    """One banner, not two, and it leads to the move."""
    wait_s(migration.world.trigger(), 70)
    migration.fall_silent(for_s=120)
    (banner,) = banners(staff)
    assert "is down" in banner
    assert "1 run waits for it." in banner
    assert f'href="{MOVE}"' in banner


def test_reconcilers_that_do_not_run_are_an_alarm(staff: Staff) -> None:
    """Worker, beat or Valkey is away: what is late is said, and which of them."""
    assert banners(staff) == []
    change(
        "UPDATE runs_reconcilerrecord SET last_run_at = now() - interval '2 min'"
        " WHERE name = 'release_due_runs'"
    )
    (banner,) = banners(staff)
    assert banner.startswith("The reconciler release_due_runs did not run in time. Delays")
    assert f'href="{RECONCILERS}"' in banner
    page = staff.page(RECONCILERS)
    assert "1 late." in page
    assert "2 min ago" in page


def test_differences_and_failures_come_first(staff: Staff) -> None:
    """A fault of ours is worse than lateness, and the error is there to read."""
    record_run(BOOKS, 3)
    record_failure("count_runs", ValueError("no such column"))
    change("DELETE FROM runs_reconcilerrecord WHERE name = 'release_due_runs'")
    differ, failing, late = banners(staff)
    assert "The books differ: compare_books found 3 differences" in differ
    assert "The reconciler count_runs fails: ValueError: no such column." in failing
    assert "The reconciler release_due_runs did not run in time" in late
    page = staff.page(RECONCILERS)
    assert "3 differences found, 1 failing, 1 late." in page
    assert "never" in page
