"""Time on a live stack: beat drives every reconciler, and everybody can see that it does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from runs.tasks import ALL_RECONCILERS
from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.live import LiveStack

EACH_SECOND = {
    "release_due_runs",
    "release_waiting_versions",
    "repair_stalled_runs",
    "end_overlong_attempts",
    "expire_waiting_runs",
}


def reconcilers(stack: LiveStack) -> dict[str, dict[str, Any]]:
    """Give what staff are told, by name."""
    found = stack.ask("GET", "/admin/api/v1/reconcilers", key=stack.admin_token)
    return {row["name"]: row for row in found["data"]}


def is_fresh(row: dict[str, Any]) -> bool:
    """Tell whether a reconciler came to its end lately."""
    age = datetime.now(UTC) - datetime.fromisoformat(row["lastRunAt"])
    return "error" not in row and age < timedelta(seconds=5)


def test_every_reconciler_runs_and_says_so(live_stack: LiveStack) -> None:
    """Those of each hour too, soon after the start; the quick ones just now, without an error."""
    wait_until(
        lambda: all("lastRunAt" in row for row in reconcilers(live_stack).values()),
        timeout_s=30,
        what="a reconciler never ran",
    )
    rows = reconcilers(live_stack)
    assert set(rows) == set(ALL_RECONCILERS)

    def are_fresh() -> bool:
        now = reconcilers(live_stack)
        return all(is_fresh(now[name]) for name in EACH_SECOND)

    wait_until(are_fresh, timeout_s=30, what=str(rows))


def test_the_books_of_a_live_stack_are_right(live_stack: LiveStack) -> None:
    """Whatever other tests do to it at this moment, runs and queue do not differ."""
    assert httpx.get(f"{live_stack.url}/readyz").json() == {"ok": True, "differences": 0}
    assert reconcilers(live_stack)["compare_books"]["found"] == 0
    page = httpx.get(f"{live_stack.url}/metrics").text
    shown = set(
        re.findall(r'^crossfade_reconciler_age_seconds\{name="(\w+)"\} [\d.]+', page, re.MULTILINE)
    )
    assert shown >= EACH_SECOND
    assert 'crossfade_reconciler_found{name="compare_books"} 0.0' in page


def test_a_delayed_run_that_is_rescheduled_runs_at_its_new_time(live_stack: LiveStack) -> None:
    """Put forward from an hour to a second, it is executed within moments."""
    run_id = live_stack.trigger("hello-world", {"name": "Ada"}, delay="1h")
    live_stack.ask("POST", f"/api/v1/runs/{run_id}/reschedule", {"delay": "1s"})
    wait_until(
        lambda: live_stack.run(run_id)["status"] == "COMPLETED", timeout_s=60, what="never ran"
    )


def test_a_run_nobody_takes_in_time_expires(live_stack: LiveStack) -> None:
    """Its queue may run nothing meanwhile; beat ends it, and whoever polls reads that it is over."""
    holder = live_stack.trigger("hello-world", {"name": "Ada"}, ttl=0, delay="1s")
    wait_until(lambda: live_stack.run(holder)["isCompleted"], timeout_s=60, what="never ended")
    assert live_stack.run(holder)["status"] == "EXPIRED"
