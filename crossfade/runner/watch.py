"""What the platform says about the run while it executes: heartbeats out, newer snapshots in."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from crossfade.runner.platform import Platform, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable


class Verdict(StrEnum):
    """What a snapshot means to the runner that holds the run."""

    IGNORE = "ignore"  # older than ours, or a state we do not know
    FOLLOW = "follow"  # ours, under a newer id
    CANCEL = "cancel"  # ours, and to be stopped
    LOST = "lost"  # nobody's or another runner's


_STILL_OURS = frozenset({"EXECUTING", "EXECUTING_WITH_WAITPOINTS"})
_TAKEN_AWAY = frozenset(
    {
        "RUN_CREATED",
        "DELAYED",
        "QUEUED",
        "QUEUED_EXECUTING",
        "PENDING_EXECUTING",
        "SUSPENDED",
        "FINISHED",
    }
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A snapshot as the platform tells it."""

    snapshot_id: str
    status: str
    attempt: int | None


def decide_verdict(seen: Seen, *, held_id: str, held_attempt: int) -> Verdict:
    """Say what a snapshot means. Ids of one run sort in the order they were made."""
    if seen.snapshot_id <= held_id:
        return Verdict.IGNORE
    if seen.status == "PENDING_CANCEL":
        return Verdict.CANCEL
    if seen.status in _TAKEN_AWAY:
        return Verdict.LOST
    if seen.status in _STILL_OURS:
        ours = seen.attempt is None or seen.attempt == held_attempt
        return Verdict.FOLLOW if ours else Verdict.LOST
    return Verdict.IGNORE


class Held:
    """The snapshot and attempt we hold. While we move the run ourselves, nothing is judged."""

    def __init__(self, snapshot_id: str) -> None:
        self._lock = threading.Lock()
        self._snapshot_id = snapshot_id
        self._attempt = 0
        self._moving = True

    @property
    def snapshot_id(self) -> str:
        """Give the newest snapshot of ours."""
        with self._lock:
            return self._snapshot_id

    def take(self, snapshot_id: str, attempt: int) -> None:
        """Hold a snapshot; from here on newer ones are judged against it."""
        with self._lock:
            self._snapshot_id, self._attempt, self._moving = snapshot_id, attempt, False

    def begin_move(self) -> None:
        """Stop judging: our own start or completion is about to make snapshots."""
        with self._lock:
            self._moving = True

    def judge(self, seen: Seen) -> Verdict:
        """Decide about a snapshot, and hold its id if the run is still ours."""
        with self._lock:
            if self._moving:
                return Verdict.IGNORE
            verdict = decide_verdict(seen, held_id=self._snapshot_id, held_attempt=self._attempt)
            if verdict in {Verdict.FOLLOW, Verdict.CANCEL}:
                self._snapshot_id = seen.snapshot_id
            return verdict


class Watch:
    """Two daemon threads: one says that we live, one asks what is new."""

    def __init__(
        self,
        platform: Platform,
        held: Held,
        *,
        on_verdict: Callable[[Verdict], None],
        report: Callable[[str], None],
    ) -> None:
        self._platform = platform
        self._held = held
        self._on_verdict = on_verdict
        self._report = report
        self._ended = threading.Event()
        self._look = threading.Event()

    def start(self, *, heartbeat_interval_s: float, poll_interval_s: float) -> None:
        """Begin. Both threads end with the process, or with `stop`."""
        loops = ((self._beat, heartbeat_interval_s), (self._poll, poll_interval_s))
        for loop, interval_s in loops:
            threading.Thread(target=loop, args=(interval_s,), daemon=True).start()

    def stop(self) -> None:
        """End both threads after what they are doing."""
        self._ended.set()
        self._look.set()

    def _beat(self, interval_s: float) -> None:
        while not self._ended.wait(interval_s):
            try:
                self._platform.heartbeat(self._held.snapshot_id)
            except Refused as refused:
                self._report(f"heartbeat refused: {refused}")
                self._look.set()  # the run may not be ours any more: ask at once
            except Unreachable as unreachable:
                self._report(f"heartbeat not delivered: {unreachable}")

    def _poll(self, interval_s: float) -> None:
        while True:
            self._look.wait(interval_s)
            self._look.clear()
            if self._ended.is_set():
                return
            try:
                snapshots = self._platform.snapshots_since(self._held.snapshot_id)
                seen = [read_snapshot(item) for item in snapshots]
            except (Refused, Unreachable, KeyError, TypeError) as error:
                self._report(f"no news of the run: {error}")
                continue
            for item in seen:
                verdict = self._held.judge(item)
                if verdict in {Verdict.CANCEL, Verdict.LOST}:
                    self._on_verdict(verdict)


def read_snapshot(item: dict[str, Any]) -> Seen:
    """Read one element of the answer of snapshots/since."""
    snapshot, run = item["snapshot"], item["run"]
    attempt = run.get("attemptNumber")
    return Seen(
        snapshot_id=str(snapshot.get("friendlyId") or snapshot["id"]),
        status=str(snapshot["executionStatus"]),
        attempt=attempt if isinstance(attempt, int) else None,
    )
