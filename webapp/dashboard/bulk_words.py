"""What pages say about bulk actions. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from webapp.dashboard.words import Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runs.bulk import BulkKind
    from runs.bulk_selectors import BulkActionView

BULK_WORDS: Final[Mapping[str, Word]] = {
    "PENDING": Word("Under way", "live"),
    "COMPLETED": Word("Completed", "good"),
    "ABORTED": Word("Aborted", "idle"),
}


class Verb(NamedTuple):
    """How an action is spoken of."""

    order: str  # what a button says
    doing: str
    done: str
    consequence: str


VERBS: Final[Mapping[str, Verb]] = {
    "cancel": Verb(
        "Cancel",
        "Canceling",
        "canceled",
        "Those that wait are over at once; those that execute are told to stop, with the runs they"
        " started. What they did already stays done. Runs that end before their turn are left as"
        " they are.",
    ),
    "replay": Verb(
        "Replay",
        "Replaying",
        "replayed",
        "Each becomes a new run with the same payload, tags, metadata, queue and machine, on the"
        " newest version. The runs themselves stay as they are.",
    ),
}


def runs_text(count: int) -> str:
    """Give a number of runs.

    >>> runs_text(1), runs_text(12_340)
    ('1 run', '12,340 runs')
    """
    return f"{count:,} run{'' if count == 1 else 's'}"


def order_text(kind: BulkKind, count: int) -> str:
    """Give what the button does.

    >>> order_text("replay", 240)
    'Replay 240 runs'
    """
    return f"{VERBS[kind].order} {runs_text(count)}"


def headline(action: BulkActionView) -> str:
    """Give the first line of an action's page: how far it has come."""
    verb = VERBS[action.kind]
    done = f"{action.success:,} of {runs_text(action.total)}"
    if action.status == "PENDING":
        return f"{verb.doing} {runs_text(action.total)}: {action.success + action.failure:,} done"
    failed = f"; {action.failure:,} could not be" if action.failure else ""
    aborted = "Aborted: " if action.status == "ABORTED" else ""
    return f"{aborted}{done} {verb.done}{failed}"
