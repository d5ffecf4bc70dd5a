"""What this process knows of the runs it leased: whose they are and how far they got."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.groups import Group

REMEMBERED_RUNS = 10_000  # runs whose group is still known after their workload ended


class Phase(StrEnum):
    """How far a workload got with its run, as its calls have shown."""

    LEASED = "leased"  # no attempt has started
    EXECUTING = "executing"  # an attempt is open
    DONE = "done"  # the attempt was completed, or the run is no longer this workload's


def _nothing() -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Flight:
    """One leased run and its workload."""

    run_id: str
    snapshot_id: str  # the newest that this workload is known to work on
    runner_id: str
    attempt: int  # the attempt it works on, or will start
    group: Group
    token: str | None  # the deployment token it was given
    lease: str = ""  # the name its lease was given; the runner's may have a suffix
    on_done: Callable[[], None] = _nothing  # told once it has nothing more to do
    phase: Phase = Phase.LEASED
    stopping: bool = False  # the supervisor ends it, the task did nothing wrong
    _relays: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self) -> None:
        """Note that the workload has nothing more to do."""
        self.phase = Phase.DONE
        self.on_done()

    @contextmanager
    def relaying(self) -> Iterator[None]:
        """Mark that a call of the workload is on its way to the platform."""
        self._relays += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._relays -= 1
            if self._relays == 0:
                self._idle.set()

    async def settled(self) -> None:
        """Wait until no call of the workload is on its way."""
        if self._relays:
            await self._idle.wait()


class Flights:
    """The flights of this process by runner, and the group of each run it has seen."""

    def __init__(self) -> None:
        self._by_runner: dict[str, Flight] = {}
        self._groups: OrderedDict[str, Group] = OrderedDict()

    def add(self, flight: Flight) -> None:
        """Know a new lease."""
        self._by_runner[flight.runner_id] = flight
        self.remember(flight.run_id, flight.group)

    def rename(self, flight: Flight, runner_id: str) -> None:
        """Know a flight by another runner: its workload is started under another name."""
        self._by_runner.pop(flight.runner_id, None)
        flight.runner_id = runner_id
        self._by_runner[runner_id] = flight

    def drop(self, runner_id: str) -> Flight | None:
        """Forget a workload that ended; the group of its run stays known a while."""
        return self._by_runner.pop(runner_id, None)

    def find(self, runner_id: str | None, run_id: str) -> Flight | None:
        """Give the flight of a runner, if it is of this run."""
        flight = self._by_runner.get(runner_id or "")
        return flight if flight is not None and flight.run_id == run_id else None

    def of_run(self, run_id: str) -> list[Flight]:
        """Give the flights of a run; after a redrive there may be an old one beside the new."""
        return [flight for flight in self._by_runner.values() if flight.run_id == run_id]

    def of_group(self, group: Group) -> list[Flight]:
        """Give what runs for a group."""
        return [flight for flight in self._by_runner.values() if flight.group is group]

    def all(self) -> list[Flight]:
        """Give every flight."""
        return list(self._by_runner.values())

    def remember(self, run_id: str, group: Group) -> None:
        """Know which group a run belongs to."""
        self._groups[run_id] = group
        self._groups.move_to_end(run_id)
        if len(self._groups) > REMEMBERED_RUNS:
            self._groups.popitem(last=False)

    def group_of(self, run_id: str) -> Group | None:
        """Give the group of a run, if it is known."""
        return self._groups.get(run_id)
