"""Which instances there are: unique names, one create each, and what has become of them.

A name is taken from the moment its create arrives until its instance is deleted or forgotten, so
two creates of one name never both start something. Not thread-safe: it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from compute.contracts import Instance, InstanceCreateRequest
from compute.processes.values import Created, Failed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from compute.gateway.backends import Backend
    from compute.processes.values import Exited

EXITED_KEPT = 500  # instances that have exited, listed at most
EXITED_KEPT_S = 600.0  # how long they are
SIGNAL_BASE = 128  # what a shell adds to the signal that ended a program

log = structlog.get_logger()


class NameTaken(Exception):
    """Another instance has the name, or had it and is still listed."""


class GatewayFull(Exception):
    """As many instances run as may."""


class UnknownInstance(Exception):
    """There is no instance of this name."""


class NotCreated(Exception):
    """The backend could not start the instance."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


@dataclass(slots=True, eq=False)
class _Entry:
    """One name."""

    request: InstanceCreateRequest
    request_id: str  # of the create, "" when it had none
    created_at: datetime
    started: asyncio.Task[Created | Failed] | None = None
    is_running: bool = False
    exited: Exited | None = None
    exited_at: float | None = None  # of the monotonic clock
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Instances:
    """The instances of one gateway."""

    def __init__(
        self, *, limit: int, clock: Callable[[], float], on_change: Callable[[], None]
    ) -> None:
        """Take how many may run, a monotonic clock, and whom to tell when something changed."""
        self._limit = limit
        self._clock = clock
        self._on_change = on_change
        self._entries: dict[str, _Entry] = {}
        self._backend: Backend | None = None

    def serve(self, backend: Backend) -> None:
        """Use this backend; its `on_exit` has to be `exited`."""
        self._backend = backend

    @property
    def running(self) -> int:
        """How many instances run or are being started."""
        return sum(entry.exited is None for entry in self._entries.values())

    async def create(
        self, request: InstanceCreateRequest, *, request_id: str, now: datetime
    ) -> tuple[Instance, bool]:
        """Start an instance and give it, and whether it is new.

        The same name and a request id that is not empty, again, give what the first create gave.
        Raises `NameTaken`, `GatewayFull` or `NotCreated`.
        """
        entry = self._entries.get(request.name)
        is_new = entry is None
        if entry is None:
            entry = self._claim(request, request_id, now)
        elif not request_id or request_id != entry.request_id:
            raise NameTaken(f"an instance {request.name} exists already")
        assert entry.started is not None
        outcome = await asyncio.shield(entry.started)  # a caller that hangs up ends nothing
        if isinstance(outcome, Failed):
            raise NotCreated(outcome)
        return _view(entry), is_new

    def get(self, name: str) -> Instance:
        """Give an instance. Raises `UnknownInstance`, also while it is only being started."""
        entry = self._entries.get(name)
        if entry is None or not (entry.is_running or entry.exited):
            raise UnknownInstance(f"there is no instance {name}")
        return _view(entry)

    def list(self) -> list[Instance]:
        """Give the instances that run and those that have exited, oldest first."""
        self._forget()
        known = (entry for entry in self._entries.values() if entry.is_running or entry.exited)
        return [_view(entry) for entry in known]

    async def delete(self, name: str) -> None:
        """End an instance, if it runs, and forget it. Raises `UnknownInstance`."""
        entry = self._entries.get(name)
        if entry is None or entry.started is None:
            raise UnknownInstance(f"there is no instance {name}")
        outcome = await asyncio.shield(entry.started)
        if isinstance(outcome, Failed):
            raise UnknownInstance(f"there is no instance {name}")
        if entry.exited is None:
            assert self._backend is not None
            await self._backend.delete(name)
            await entry.gone.wait()
        if self._entries.get(name) is entry:
            del self._entries[name]
        log.info("instance.deleted", name=name)
        self._on_change()

    def exited(self, exited: Exited) -> None:
        """Note the end of an instance; backends call it."""
        entry = self._entries[exited.name]
        entry.exited = exited
        entry.exited_at = self._clock()
        entry.is_running = False
        entry.gone.set()
        self._forget()
        log.info(
            "instance.exited",
            name=exited.name,
            exit_code=exited.exit_code,
            signal=exited.signal,
            out_of_memory=exited.out_of_memory,
        )
        self._on_change()

    def _claim(self, request: InstanceCreateRequest, request_id: str, now: datetime) -> _Entry:
        if self.running >= self._limit:
            raise GatewayFull(f"{self._limit} instances run already")
        entry = _Entry(request, request_id, now)
        self._entries[request.name] = entry
        entry.started = asyncio.create_task(self._start(entry))
        return entry

    async def _start(self, entry: _Entry) -> Created | Failed:
        """Start it; a name whose create failed is free again at once."""
        name = entry.request.name
        outcome: Created | Failed = Failed("create_failed", "the gateway failed; see its log")
        assert self._backend is not None
        try:
            outcome = await self._backend.create(entry.request)
        finally:  # also after a mistake of ours, which goes on to the log
            if isinstance(outcome, Failed):
                self._entries.pop(name, None)
                log.warning(
                    "instance.not_created",
                    name=name,
                    reason=outcome.reason,
                    message=outcome.message,
                )
            else:
                entry.is_running = entry.exited is None  # it may have ended before we got here
                log.info(
                    "instance.created",
                    name=name,
                    image=entry.request.image,
                    warm=outcome.is_warm,
                )
            self._on_change()
        return outcome

    def _forget(self) -> None:
        """Forget exited instances that are too old, and the oldest when they are too many."""
        ended = [
            (entry.exited_at, name)
            for name, entry in self._entries.items()
            if entry.exited_at is not None
        ]
        ended.sort()
        excess = len(ended) - EXITED_KEPT
        oldest = self._clock() - EXITED_KEPT_S
        for number, (at, name) in enumerate(ended):
            if number < excess or at < oldest:
                del self._entries[name]


def _view(entry: _Entry) -> Instance:
    """Give an instance as the wire has it."""
    request, exited = entry.request, entry.exited
    view = Instance(
        id=request.name,
        name=request.name,
        image=request.image,
        status="exited" if exited else "running",
        createdAt=entry.created_at,
        labels=request.labels or {},
        metadata=request.metadata or {},
    )
    return view.model_copy(update=_ending(exited)) if exited else view


def _ending(exited: Exited) -> dict[str, int | bool | str]:
    """Give how it ended; what is not known, or does not matter, is left out."""
    ending: dict[str, int | bool | str] = {}
    if exited.exit_code is not None:
        ending["exitCode"] = exited.exit_code
    elif exited.signal is not None:
        ending |= {"exitCode": SIGNAL_BASE + exited.signal, "exitSignal": exited.signal}
    if exited.out_of_memory:
        ending["outOfMemory"] = True
    if exited.last_words and exited.exit_code != 0:
        ending["lastWords"] = exited.last_words
    return ending
