"""Reverts at one moment: a change is undone once, and never over somebody else's."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from flags.selectors import get_global_values
from flags.services import set_global_flags
from ledger.selectors import list_audit
from ledger.services import verify_audit
from rollout.reverting import revert_change
from tenants.freshness import StaleRevision
from tests.factories import ORIGIN
from tests.running import race

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

FREE = "computeMigrationFreePercentage"
AT_ONCE = 8


def revert(audit_id: int) -> bool:
    """Revert a change; tell whether it was done."""
    try:
        revert_change(audit_id, now=datetime.now(UTC), origin=ORIGIN)
    except StaleRevision:
        return False
    return True


def test_a_change_is_reverted_once() -> None:
    """Of eight who press the button one does it; the others are told that it changed since."""
    set_global_flags({FREE: 5}, **ORIGIN)
    set_global_flags({FREE: 25}, **ORIGIN)
    row = list_audit(key=FREE, limit=1).rows[0]
    assert sorted(race(AT_ONCE, lambda _: revert(row.id))) == [False] * (AT_ONCE - 1) + [True]
    assert [(one.old, one.new) for one in list_audit(key=FREE).rows] == [
        (25, 5),
        (5, 25),
        (None, 5),
    ]
    assert verify_audit().is_valid


def test_a_revert_undoes_nobody_elses_change() -> None:
    """Whoever writes at the same moment, each row follows from the one before it."""
    for turn in range(10):
        set_global_flags({FREE: 1}, **ORIGIN)
        set_global_flags({FREE: 2}, **ORIGIN)
        row = list_audit(key=FREE, limit=1).rows[0]

        def act(number: int, audit_id: int = row.id, other: int = 10 + turn) -> bool:
            if number == 0:
                return revert(audit_id)
            set_global_flags({FREE: other}, **ORIGIN)
            return True

        race(2, act)
        assert get_global_values()[FREE] == 10 + turn
    changes = [(row.old, row.new) for row in reversed(list_audit(key=FREE, limit=100).rows)]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(changes))
