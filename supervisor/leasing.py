"""The bounded pool of lease loops: each holds one long poll for one worker group.

Polls are dealt to the groups in turn, at least one each, so that a busy group never takes the polls
of an idle one. A poll goes out only with room for what it may bring, and holds that room.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from runs.contracts import DequeuedMessage, DequeueRequest, Resources
from supervisor.platform import Ok, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.capacity import Capacity
    from supervisor.dispatch import Dispatcher
    from supervisor.env import QueueClass
    from supervisor.groups import Group
    from supervisor.metrics import Metrics

log = structlog.get_logger()


class LeasePool:
    """The lease loops of one supervisor."""

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        polls: int,
        capacity: Capacity,
        dispatcher: Dispatcher,
        metrics: Metrics,
        memory_free_gb: Callable[[], float],
        queue_class: QueueClass = "default",
        interval_s: float = 0.0,
        idle_interval_s: float = 1.0,
    ) -> None:
        self._groups = groups
        self._polls = max(polls, len(groups))
        self._capacity = capacity
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._memory_free_gb = memory_free_gb
        self._queue_class = queue_class
        self._interval_s = interval_s
        self._idle_interval_s = idle_interval_s
        self._stopping = False
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the loops; each waits until its group is connected."""
        for poll in range(self._polls):
            group = self._groups[poll % len(self._groups)]
            self._loops.append(asyncio.create_task(self._loop(poll, group)))

    async def stop(self, *, grace_s: float) -> None:
        """Start no new poll; those that are out get a moment, then they are given up.

        A lease that is granted to a poll nobody listens to any more is redriven by the platform.
        """
        self._stopping = True
        if self._loops:
            _, late = await asyncio.wait(self._loops, timeout=grace_s)
            for loop in late:
                loop.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _loop(self, poll: int, group: Group) -> None:
        await group.connected.wait()
        while not self._stopping:
            offer = self._capacity.offer(poll, memory_free_gb=self._memory_free_gb())
            if offer is None:
                await self._wait_for_room()
                continue
            self._dispatcher.changed.set()  # the next in line may find room as well
            try:
                pause_s = await self._lease(poll, group, offer)
            finally:
                self._capacity.withdraw(poll)
                self._dispatcher.changed.set()
            await asyncio.sleep(pause_s)

    async def _lease(self, poll: int, group: Group, offer: Resources) -> float:
        """Poll once, until an answer is known, and give the pause before the next."""
        key = str(uuid4())
        while True:
            outcome = await self._poll(group, offer, key)
            if isinstance(outcome, Ok):
                for message in outcome.value:
                    self._dispatcher.accept(message, group=group, poll=poll)
                return self._interval_s
            log.warning("dequeue.failed", group=group.name, error=outcome.error)
            if self._stopping or not _is_unknown(outcome):
                return self._idle_interval_s
            await asyncio.sleep(self._idle_interval_s)  # the same key: a lost lease comes back

    async def _poll(
        self, group: Group, offer: Resources, key: str
    ) -> Ok[list[DequeuedMessage]] | Refused | Unreachable:
        request = DequeueRequest(maxResources=offer, maxRunCount=1, queueClass=self._queue_class)
        began = perf_counter()
        outcome = await group.client.dequeue(request, key=key)
        result = ("success" if outcome.value else "empty") if isinstance(outcome, Ok) else "error"
        self._metrics.dequeue_seconds.labels(outcome=result).observe(perf_counter() - began)
        return outcome

    async def _wait_for_room(self) -> None:
        self._dispatcher.changed.clear()
        try:
            async with asyncio.timeout(self._idle_interval_s):
                await self._dispatcher.changed.wait()
        except TimeoutError:
            return  # look again: memory may have been freed by others


def _is_unknown(outcome: Refused | Unreachable) -> bool:
    """Say whether the platform may have granted a lease that this process has not seen."""
    return isinstance(outcome, Unreachable) or outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR
