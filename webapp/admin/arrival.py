"""How far a change has arrived: which processes decide by it. Pure but for what it is handed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.selectors import ReplicaView


class Arrival(NamedTuple):
    """Where a revision has arrived."""

    revision: int
    total: int  # processes that reported themselves lately
    behind: tuple[ReplicaView, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every process decides by it."""
        return not self.behind

    @property
    def text(self) -> str:
        """Say it in one sentence."""
        if not self.total:
            return "No process has reported itself in the last half minute."
        if self.is_complete:
            return f"{_all(self.total)} by revision {self.revision}."
        there = self.total - len(self.behind)
        return (
            f"{there} of {count_text(self.total, 'process', 'processes')}"
            f" decide by revision {self.revision}; behind: {', '.join(map(_name, self.behind))}."
        )


def arrival_of(revision: int, replicas: Sequence[ReplicaView]) -> Arrival:
    """Tell where a revision has arrived; a process that does not know yet is behind."""
    behind = tuple(
        replica for replica in replicas if replica.revision is None or replica.revision < revision
    )
    return Arrival(revision, len(replicas), behind)


def _all(total: int) -> str:
    return "The one process decides" if total == 1 else f"All {total} processes decide"


def _name(replica: ReplicaView) -> str:
    at = "none yet" if replica.revision is None else str(replica.revision)
    return f"{replica.process} on {replica.host}, pid {replica.pid} (at {at})"
