"""What happens to a leased run: a workload is started for it, and its end is accounted for.

Nothing is swallowed: a lease that cannot become a workload is handed back at once with its reason,
and a workload that dies before completing its attempt has it completed by this process.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog

from compute.processes.values import Created, Failed
from runs.contracts import (
    AttemptFailed,
    CompleteAttempt,
    DequeuedMessage,
    DispatchFailed,
    Resources,
)
from supervisor.flights import Flight, Flights, Phase
from supervisor.platform import Ok, Refused
from supervisor.runner_env import (
    RunnerSettings,
    deployment_token,
    instance_name,
    runner_env,
    workload_labels,
    workload_metadata,
)
from supervisor.workloads.base import WorkloadManager, WorkloadSpec
from supervisor.workloads.exits import describe_exit, error_for_exit

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from compute.processes.values import Exited
    from supervisor.capacity import Capacity
    from supervisor.groups import Group
    from supervisor.metrics import Metrics

MAX_MESSAGE = 4000
OPEN_STATUSES = frozenset({"EXECUTING", "EXECUTING_WITH_WAITPOINTS", "PENDING_CANCEL"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchOptions:
    """What a dispatcher tells workloads."""

    runner: RunnerSettings
    token_secret: str
    token_expires_at: datetime


class Dispatcher:
    """Turns leases into workloads and the ends of workloads into reports."""

    def __init__(
        self, options: DispatchOptions, *, capacity: Capacity, flights: Flights, metrics: Metrics
    ) -> None:
        self.changed = asyncio.Event()  # set whenever a workload has given its resources back
        self._options = options
        self._capacity = capacity
        self._flights = flights
        self._metrics = metrics
        self._managers: list[WorkloadManager] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def serve(self, manager: WorkloadManager) -> None:
        """Use a workload manager for the runs its capabilities fit."""
        self._managers.append(manager)

    def accept(self, message: DequeuedMessage, *, group: Group, poll: int) -> None:
        """Take a lease over from a poll; the rest happens in a task of its own."""
        name = instance_name(message)
        machine = message.run.machine
        if any(one.lease == name for one in self._flights.of_run(message.run.friendlyId)):
            self._capacity.withdraw(poll)  # the same lease again: its answer had been late
            return
        need = Resources(cpu=machine.cpu, memory=machine.memory)
        if self._stopping:
            self._capacity.withdraw(poll)
            failure = Failed("no_capacity", "the supervisor is stopping")
            self._spawn(self._hand_back(message, group, failure))
        elif not self._capacity.take(poll, name, need):
            text = f"no room for {machine.name}: {machine.cpu:g} cores, {machine.memory:g} GB"
            self._spawn(self._hand_back(message, group, Failed("no_capacity", text)))
        else:
            self._spawn(self._start(message, group))

    def exited(self, exited: Exited) -> None:
        """Account for the end of a workload; workload managers call it."""
        self._spawn(self._settle(exited))

    def stop(self) -> None:
        """Hand every lease that still arrives back at once."""
        self._stopping = True

    async def close(self, *, timeout_s: float) -> None:
        """Wait for reports that are on their way, then give up on them."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()

    async def _start(self, message: DequeuedMessage, group: Group) -> None:
        name = instance_name(message)
        token = deployment_token(
            message,
            secret=self._options.token_secret,
            expires_at=self._options.token_expires_at,
        )
        flight = Flight(
            run_id=message.run.friendlyId,
            snapshot_id=message.snapshot.friendlyId,
            runner_id=name,
            attempt=message.run.attemptNumber,
            group=group,
            token=token,
            lease=name,
        )
        self._flights.add(flight)
        began = perf_counter()
        result: Created | Failed = Failed("create_failed", "the supervisor failed; see its log")
        try:
            result = await self._create(message, flight)
        finally:  # also after a mistake of ours, which goes on to the log
            outcome = "ok" if isinstance(result, Created) else result.reason
            self._metrics.create_seconds.labels(outcome=outcome).observe(perf_counter() - began)
            if isinstance(result, Created):
                log.info("workload.created", name=result.name, run=flight.run_id, group=group.name)
            else:
                self._flights.drop(flight.runner_id)
                self._release(name)
                await self._hand_back(message, group, result)

    async def _create(self, message: DequeuedMessage, flight: Flight) -> Created | Failed:
        manager = self._manager_for(message)
        if isinstance(manager, Failed):
            return manager
        assert message.image is not None
        flight.on_done = lambda: manager.finish(flight.runner_id)
        runner, now = self._options.runner, datetime.now(UTC)
        spec = WorkloadSpec(
            name=flight.lease,
            image=message.image,
            machine=message.run.machine,
            env=runner_env(message, runner, token=flight.token, now=now),
            code=flight.group.client,
            metadata=workload_metadata(message, supervisor=runner.instance_name),
            labels=workload_labels(message),
            renamed=lambda name: self._flights.rename(flight, name),
        )
        return await manager.create(spec)

    def _manager_for(self, message: DequeuedMessage) -> WorkloadManager | Failed:
        """Choose by what the run needs and what managers say they can do."""
        if message.image is None:
            text = "the deployment has neither an artifact nor an image: there is nothing to run"
            return Failed("no_image", text, permanent=True)
        checkpoint = message.checkpoint
        for manager in self._managers:
            if checkpoint is None or checkpoint.type in manager.capabilities.restores:
                return manager
        text = f"nothing here continues a checkpoint of type {checkpoint and checkpoint.type}"
        return Failed("unsupported", text)

    async def _hand_back(self, message: DequeuedMessage, group: Group, failure: Failed) -> None:
        report = DispatchFailed(
            reason=failure.reason,
            message=failure.message[:MAX_MESSAGE],
            permanent=failure.permanent,
        )
        await self._report(group, message.run.friendlyId, message.snapshot.friendlyId, report)

    async def _report(
        self, group: Group, run_id: str, snapshot_id: str, report: DispatchFailed
    ) -> None:
        self._metrics.dispatch_failures.labels(reason=report.reason).inc()
        outcome = await group.client.dispatch_failed(run_id, snapshot_id, report)
        log.warning(
            "dispatch.failed",
            run=run_id,
            reason=report.reason,
            message=report.message,
            reported=isinstance(outcome, Ok),
            error=None if isinstance(outcome, Ok) else outcome.error,
        )

    async def _settle(self, exited: Exited) -> None:
        """Report what a workload left open: nothing, a lease, or an attempt."""
        flight = self._flights.drop(exited.name)
        assert flight is not None
        self._release(flight.lease)
        await flight.settled()
        self._metrics.exits.labels(phase=flight.phase).inc()
        log.info(
            "workload.exited",
            name=exited.name,
            run=flight.run_id,
            phase=flight.phase,
            exit_code=exited.exit_code,
            signal=exited.signal,
        )
        if flight.phase is Phase.LEASED:
            report = DispatchFailed(
                reason="no_capacity" if flight.stopping else "create_failed",
                message=_cause(flight, exited)[:MAX_MESSAGE],
            )
            await self._report(flight.group, flight.run_id, flight.snapshot_id, report)
        elif flight.phase is Phase.EXECUTING:
            await self._complete(flight, exited)

    async def _complete(self, flight: Flight, exited: Exited) -> None:
        error = error_for_exit(exited).model_copy(update={"message": _cause(flight, exited)})
        if flight.stopping:  # the task did nothing wrong: its retries apply
            error = error.model_copy(update={"code": "TASK_PROCESS_SIGTERM"})
        completion = CompleteAttempt(
            completion=AttemptFailed(ok=False, id=flight.run_id, error=error)
        )
        client, run_id = flight.group.client, flight.run_id
        outcome = await client.complete(
            run_id, flight.snapshot_id, completion, runner_id=flight.runner_id
        )
        if isinstance(outcome, Refused) and outcome.status == HTTPStatus.CONFLICT:
            newer = await self._newer_snapshot(flight)
            if newer is not None:
                outcome = await client.complete(
                    run_id, newer, completion, runner_id=flight.runner_id
                )
        log.warning(
            "attempt.completed_for_dead_workload",
            run=run_id,
            code=error.code,
            message=error.message,
            reported=isinstance(outcome, Ok),
            error=None if isinstance(outcome, Ok) else outcome.error,
        )

    async def _newer_snapshot(self, flight: Flight) -> str | None:
        """Give the run's newest snapshot if it still is of this workload's attempt.

        Each start raises the attempt number, so the same number means the same workload.
        """
        latest = await flight.group.client.latest(flight.run_id, runner_id=flight.runner_id)
        if not isinstance(latest, Ok):
            return None
        execution = latest.value
        is_ours = execution.run.attemptNumber == flight.attempt
        is_open = execution.snapshot.executionStatus in OPEN_STATUSES
        return execution.snapshot.friendlyId if is_ours and is_open else None

    def _release(self, name: str) -> None:
        self._capacity.release(name)
        self._metrics.running.set(self._capacity.workloads)
        self.changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._metrics.running.set(self._capacity.workloads)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("dispatch.crashed", exc_info=error)


def _cause(flight: Flight, exited: Exited) -> str:
    text = describe_exit(exited)
    return f"the supervisor stopped; {text}" if flight.stopping else text
