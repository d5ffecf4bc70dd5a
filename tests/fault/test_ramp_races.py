"""Ramps under races: two of everything at once, and each thing happens once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from flags.ramping import pause_ramp, record_steps, start_ramp
from flags.ramps import RampState
from flags.selectors import get_global_values, get_ramp, list_moving_ramps
from flags.services import kill_migration, set_global_flags
from ledger.connections import release_connections
from ledger.selectors import current_revision, list_audit
from ledger.services import verify_audit
from tenants.errors import Conflict
from tests.factories import ORIGIN
from tests.ramping import FREE, HOUR_S, ON, PAID, draft, started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(works: Sequence[Callable[[], object]]) -> list[object]:
    """Do all at the same moment; give the results, a conflict as itself."""
    gate = Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        try:
            gate.wait(20)
            return work()
        except Conflict as error:
            return error
        finally:
            release_connections()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


@pytest.mark.fault(
    kills="nothing: two reconcilers at once",
    step="ramp's step",
    expects="each step has one audit row, and the ramp ends once",
)
def test_racing_reconcilers_leave_each_row_once() -> None:
    """Four reconcilers after an outage over the whole schedule write what one would."""
    started(ago_s=4 * HOUR_S + 1)
    before = current_revision()
    done = at_once([record_steps] * 4)
    assert sorted(done, key=str) == [0, 0, 0, 4]
    rows = [(row.old, row.new) for row in list_audit(key=FREE).rows]
    assert rows == [(25, 100), (5, 25), (1, 5), (None, 1)]
    assert (current_revision(), verify_audit().is_valid) == (before + 1, True)


def test_racing_starts_leave_one_ramp_that_moves() -> None:
    """Of two drafts of a dial that are started at once one is refused."""
    drafts = [draft(), draft()]
    done = at_once([lambda ramp_id=one: start_ramp(ramp_id, **ORIGIN) for one in drafts])  # type: ignore[misc]
    assert sorted(isinstance(result, Conflict) for result in done) == [False, True]
    assert list(list_moving_ramps()) == [FREE]


def test_a_kill_beside_starts_and_pauses_leaves_nothing_moving() -> None:
    """Whoever comes first, a ramp that runs after a kill was started after it."""
    set_global_flags({ON: True}, **ORIGIN)
    one, other = started(), started(flag=PAID)
    at_once(
        [
            lambda: kill_migration(**ORIGIN),
            lambda: pause_ramp(one.id, **ORIGIN),
            record_steps,
            lambda: set_global_flags({PAID: 40}, **ORIGIN),
        ]
    )
    assert {get_ramp(ramp.id).state for ramp in (one, other)} == {RampState.PAUSED}
    assert get_global_values() == {ON: False, FREE: 1, PAID: 40}
    assert verify_audit().is_valid
