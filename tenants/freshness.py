"""Whether what somebody wants to change was changed meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.selectors import list_keys_changed_after
from tenants.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable


class StaleRevision(Conflict):
    """A value of this request was changed after the revision its sender had seen."""


def check_fresh(
    *, scope: str, org: str | None, keys: Iterable[str], expected_revision: int | None
) -> None:
    """Raise `StaleRevision` naming the keys changed after `expected_revision`; None asks nothing.

    Called inside a ledger write, where writers wait for each other, the answer stays true.
    """
    if expected_revision is None:
        return
    stale = list_keys_changed_after(scope=scope, org=org, keys=keys, revision=expected_revision)
    if stale:
        raise StaleRevision(f"Meanwhile somebody else changed {', '.join(stale)}")
