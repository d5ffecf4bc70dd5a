"""How far a process has followed the revisions: messages may be lost or change places. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAX_AHEAD = 10_000  # more are forgotten; they are then applied once more, which does no harm


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to `served` was applied, and so was every revision in `ahead`."""

    served: int | None = None  # None: it is not known yet where to begin
    ahead: frozenset[int] = frozenset()

    @property
    def has_gap(self) -> bool:
        """Whether a later revision is known than the one everything was applied up to."""
        return self.served is None or bool(self.ahead)


def has_applied(progress: Progress, revision: int) -> bool:
    """Whether this revision needs no second look."""
    return revision in progress.ahead or (
        progress.served is not None and revision <= progress.served
    )


def note_applied(progress: Progress, revision: int) -> Progress:
    """Note that one revision was applied, in whatever order it came."""
    if has_applied(progress, revision):
        return progress
    ahead = progress.ahead if len(progress.ahead) < MAX_AHEAD else frozenset()
    return _closed(progress.served, ahead | {revision})


def note_polled(
    progress: Progress, *, asked: int | None, found: int, is_other: bool = False
) -> Progress:
    """Note that everything after `asked` up to `found` was applied.

    A database that is behind what was asked for is another one (a backup), and so is one that says
    so (`is_other`): begin anew there.
    """
    if is_other or (asked is not None and found < asked):
        return Progress(served=found)
    return _closed(max(found, progress.served or 0), progress.ahead)


def _closed(served: int | None, ahead: frozenset[int]) -> Progress:
    """Move `served` over what follows it without a gap."""
    if served is None:
        return Progress(served=None, ahead=ahead)
    while served + 1 in ahead:
        served += 1
    return Progress(served=served, ahead=frozenset(one for one in ahead if one > served))
