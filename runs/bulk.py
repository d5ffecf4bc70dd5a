"""One thing done to many runs: what is asked for, and its bounds. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from runs.run_filter import RunFilter

BulkKind = Literal["cancel", "replay"]

MAX_RUNS: Final = 100_000  # of one action
MAX_UNFINISHED: Final = 10  # actions of one organization at once
MAX_NAMED_RUNS: Final = 1_000  # chosen one by one
MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkChoice:
    """Which runs an action is about: those a filter finds now, or those that are named."""

    environment_ids: Sequence[str]  # of one organization; nothing outside them is touched
    wanted: RunFilter | None = None
    run_ids: Sequence[str] = ()  # counts when there is no filter


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBulkAction:
    """What is to be done to the runs of a choice."""

    kind: BulkKind
    choice: BulkChoice
    organization_id: str
    name: str | None = None
    target_region: str | None = None  # of replays; None: where each run was
