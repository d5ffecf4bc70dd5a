"""Workloads as instances of a compute gateway.

The gateway tells nothing by itself, so one list of all instances is asked for again and again: it
shows which workloads have ended, and what of this supervisor's is still there and should not be.
A gateway that cannot be asked is no end of anything.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from compute.client import GatewayClient, GatewayError, GatewayRefused, failure_of
from compute.contracts import InstanceCreateRequest
from compute.images import strip_digest
from compute.processes.values import Created, Exited, Failed
from compute.retry import CreateRetry, decide_next_try, is_unknown
from supervisor.runner_env import OWNER
from supervisor.workloads.base import Capabilities, WorkloadSpec
from supervisor.workloads.gateway_failures import failed_for
from supervisor.workloads.inventory import Workloads, examine, gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOOK_S = 1.0  # between two lists while there is something to see
LOOK_SOON_S = 0.25  # while an end is expected
LOOK_IDLE_S = 30.0  # while there is nothing of ours
RESTLESS_S = 60.0  # after a create that may have happened, or a look that failed
CLOSE_S = 10.0  # what ending all instances may take at a stop
MOST_DELETES = 8  # at once

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeOptions:
    """How instances are made."""

    supervisor: str  # the instance name of this supervisor; unique, or others' would be ended
    retry: CreateRetry
    finish_grace_s: float  # what a workload gets to end by itself once it has nothing to do


@dataclass(slots=True)
class _Known:
    """One instance that runs, as far as is known."""

    is_missing: bool = False  # the last list did not have it
    overdue_at: float | None = None  # of the monotonic clock: it had nothing to do before


class ComputeManager:
    """The workload manager `compute`."""

    capabilities = Capabilities(workload_type="MICROVM", image_kinds=frozenset({"artifact", "oci"}))

    def __init__(
        self,
        gateway: GatewayClient,
        options: ComputeOptions,
        *,
        on_exit: Callable[[Exited], None],
    ) -> None:
        self.on_exit = on_exit
        self._gateway = gateway
        self._options = options
        self._known: dict[str, _Known] = {}
        self._starting: set[str] = set()
        self._done_early: set[str] = set()  # finished before the create was answered
        self._deletes = asyncio.Semaphore(MOST_DELETES)
        self._wake = asyncio.Event()
        self._restless_until = time.monotonic() + RESTLESS_S
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at the gateway's instances; leftovers of an earlier life are ended."""
        self._watch = asyncio.create_task(self._watch_forever())

    async def create(self, spec: WorkloadSpec) -> Created | Failed:
        """Start an instance, trying again where a repeat can never make a second one."""
        request_id, began = uuid4().hex, time.monotonic()
        name, attempt, doubtful = spec.name, 1, False
        while True:
            self._starting.add(name)
            error = await self._try(spec, name, request_id=request_id, doubtful=doubtful)
            self._starting.discard(name)
            if error is None:
                self._created(name)
                return Created(name)
            failure = failure_of(error)
            elapsed_ms = (time.monotonic() - began) * 1000
            log.warning("instance.create_failed", name=name, attempt=attempt, error=str(error))
            self._done_early.discard(name)
            following = decide_next_try(
                failure,
                self._options.retry,
                base=spec.name,
                name=name,
                attempt=attempt,
                elapsed_ms=elapsed_ms,
            )
            self._restless_until = time.monotonic() + RESTLESS_S
            if following is None:
                self._wake.set()
                return failed_for(error)
            doubtful = is_unknown(failure)
            await asyncio.sleep(following.delay_ms / 1000)
            if following.name != name:
                spec.renamed(following.name)
            name, attempt = following.name, attempt + 1

    async def delete(self, name: str) -> None:
        """End an instance. When the gateway cannot be reached it stays, and counts as running."""
        if name in self._known:
            await self._delete(name)

    def finish(self, name: str) -> None:
        """Expect the end of a workload, and bring it about when it does not come by itself."""
        known = self._known.get(name)
        if known is not None:
            known.overdue_at = time.monotonic() + self._options.finish_grace_s
            self._wake.set()
        elif name in self._starting:
            self._done_early.add(name)

    def list(self) -> list[str]:
        """Give the names of the instances that run, as far as is known."""
        return list(self._known)

    async def close(self) -> None:
        """End every instance. What cannot be ended now is left to the next life."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._delete_all(self.list())
        except TimeoutError:
            log.warning("instances.left", names=self.list())
        await self._gateway.close()

    def _created(self, name: str) -> None:
        self._known[name] = _Known()
        self._wake.set()
        if name in self._done_early:
            self._done_early.discard(name)
            self.finish(name)

    async def _try(
        self, spec: WorkloadSpec, name: str, *, request_id: str, doubtful: bool
    ) -> GatewayError | None:
        """Create once; None when the instance is there."""
        request = InstanceCreateRequest(
            name=name,
            image=strip_digest(spec.image),
            env={**spec.env, "TRIGGER_RUNNER_ID": name},
            cpu=spec.machine.cpu,
            memory_gb=spec.machine.memory,
            metadata=dict(spec.metadata),
            labels=dict(spec.labels),
        )
        try:
            await self._gateway.create(request, request_id=request_id)
        except GatewayRefused as error:
            is_there = doubtful and error.status == HTTPStatus.CONFLICT
            return None if is_there and await self._is_ours(name, spec) else error
        except GatewayError as error:
            return error
        return None

    async def _is_ours(self, name: str, spec: WorkloadSpec) -> bool:
        """Say whether a create whose answer was lost has happened: the instance is this run's."""
        try:
            instance = await self._gateway.get(name)
        except GatewayError:
            return False
        made = (instance.metadata or {}) if instance else {}
        return all(made.get(key) == spec.metadata.get(key) for key in ("runId", OWNER))

    # -- watching -------------------------------------------------------------------------------

    async def _watch_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._look()
            except GatewayError as error:
                self._restless_until = time.monotonic() + RESTLESS_S
                log.warning("instances.not_listed", error=str(error))
            await asyncio.sleep(LOOK_SOON_S)
            try:
                async with asyncio.timeout(self._pause_s() - LOOK_SOON_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pause_s(self) -> float:
        known = self._known.values()
        if any(one.is_missing or one.overdue_at is not None for one in known):
            return LOOK_SOON_S
        is_restless = time.monotonic() < self._restless_until
        return LOOK_S if known or is_restless else LOOK_IDLE_S

    async def _look(self) -> None:
        """Ask for the list once and act on it. Raises `GatewayError`."""
        before = set(self._known)
        listed = await self._gateway.list()
        known = {name: one for name, one in self._known.items() if name in before}
        now = time.monotonic()
        findings = examine(
            listed,
            Workloads(
                supervisor=self._options.supervisor,
                known={name: one.is_missing for name, one in known.items()},
                protected=self._starting | (self._known.keys() - before),
                overdue={n for n, one in known.items() if one.overdue_at and one.overdue_at < now},
            ),
        )
        for name, one in known.items():
            one.is_missing = name in findings.missing
        for exited in findings.exited:
            self._ended(exited)
        if left := [name for name in findings.surplus if name not in before]:
            log.warning("instances.left_over", names=left)
        await self._delete_all(findings.surplus)

    async def _delete_all(self, names: Iterable[str]) -> None:
        await asyncio.gather(*(self._delete(name) for name in names))

    async def _delete(self, name: str) -> None:
        async with self._deletes:
            try:
                await self._gateway.delete(name)
            except GatewayError as error:  # the next look finds it again
                self._restless_until = time.monotonic() + RESTLESS_S
                log.warning("instance.not_deleted", name=name, error=str(error))
                return
        if name in self._known:
            self._ended(gone(name))

    def _ended(self, exited: Exited) -> None:
        del self._known[exited.name]
        self.on_exit(exited)
