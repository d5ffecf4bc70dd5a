"""One supervisor: its groups, its lease pool, its workloads, its servers, and their order."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import structlog

from compute.connections import make_http_client
from compute.http_server import HttpServer
from compute.processes.values import RUNNER_MODULE
from runs.contracts import Usage as WireUsage
from runs.contracts import WorkerHeartbeat
from supervisor.capacity import Capacity, Limits
from supervisor.dispatch import Dispatcher, DispatchOptions
from supervisor.flights import Flights
from supervisor.groups import Group
from supervisor.leasing import LeasePool
from supervisor.machine import Usage, read_machine
from supervisor.managers import make_manager, memory_free_for
from supervisor.metrics import Metrics, make_metrics_app
from supervisor.platform import Ok, PlatformClient
from supervisor.runner_env import RunnerSettings
from supervisor.workload_api import TokenRules, WorkloadApi

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from supervisor.env import Settings
    from supervisor.workloads.base import WorkloadManager

VERSION = "1"
POLL_GRACE_S = 1.0  # what outstanding polls get at a stop
REPORT_GRACE_S = 5.0  # what reports to the platform get at a stop

log = structlog.get_logger()


class Supervisor:
    """A running supervisor. `start`, then `drain`."""

    def __init__(self, settings: Settings, *, runner_module: str = RUNNER_MODULE) -> None:
        """Take the ports and prepare the workload manager; raises `OSError`, `FolderInUse`."""
        self._settings = settings
        self._machine = read_machine(
            cpu_total=settings.capacity.cpu_total, memory_total_gb=settings.capacity.memory_total_gb
        )
        self.metrics = Metrics()
        self.flights = Flights()
        self._http = make_http_client(settings.api_url)
        self.groups = [
            Group(
                PlatformClient(
                    self._http,
                    token=token,
                    managed_secret=settings.managed_secret,
                    instance_name=settings.instance_name,
                )
            )
            for token in settings.worker_tokens
        ]
        self._servers = self._make_servers()
        self.capacity = self._make_capacity()
        self._dispatcher = self._make_dispatcher()
        self._manager: WorkloadManager = make_manager(
            settings, on_exit=self._dispatcher.exited, runner_module=runner_module
        )
        self._dispatcher.serve(self._manager)
        self._pool = self._make_pool()
        self._background: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Give the port of the workload API."""
        return self._servers[0].port if self._settings.workload_api.enabled else 0

    def start(self) -> None:
        """Serve runners, greet the platform, begin to lease."""
        for server in self._servers:
            server.start()
        self._manager.start()
        metadata = {"workerVersion": VERSION, "pid": os.getpid()}
        for group in self.groups:
            self._run(self._greet(group, metadata))
        self._run(self._heartbeats())
        if self._settings.dequeue.enabled:
            self._pool.start()
        log.info(
            "supervisor.started",
            port=self.port,
            metrics_port=self._servers[-1].port if self._settings.metrics_enabled else None,
            groups=len(self.groups),
            pid=os.getpid(),
        )

    async def drain(self, *, force: asyncio.Event) -> None:
        """Stop in order: no new leases, running work, workloads, reports, servers.

        Running work gets the drain timeout, or until `force` is set; what still runs then is
        ended and reported, so that the platform can try it again elsewhere.
        """
        log.info("supervisor.draining", running=self._manager.list())
        self._dispatcher.stop()
        await self._pool.stop(grace_s=0 if force.is_set() else POLL_GRACE_S)
        await self._wait_for_work(force)
        for flight in self.flights.all():
            flight.stopping = True
        await self._manager.close()
        await self._dispatcher.close(timeout_s=REPORT_GRACE_S)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for server in self._servers:
            await server.stop()
        await self._http.aclose()
        log.info("supervisor.stopped")

    async def _wait_for_work(self, force: asyncio.Event) -> None:
        forced = asyncio.create_task(force.wait())
        finished = asyncio.create_task(self._all_gone())
        await asyncio.wait(
            {forced, finished},
            timeout=self._settings.drain_timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        forced.cancel()
        finished.cancel()

    async def _all_gone(self) -> None:
        while self.capacity.workloads:
            self._dispatcher.changed.clear()
            await self._dispatcher.changed.wait()

    async def _greet(self, group: Group, metadata: dict[str, Any]) -> None:
        await group.connect(metadata)
        await self._beat(group, self._machine.usage())

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_interval_s)
            usage = self._machine.usage()
            connected = [group for group in self.groups if group.connected.is_set()]
            await asyncio.gather(*(self._beat(group, usage) for group in connected))

    async def _beat(self, group: Group, usage: Usage) -> None:
        beat = WorkerHeartbeat(
            cpu=WireUsage(used=usage.cpu_used, available=usage.cpu_total - usage.cpu_used),
            memory=WireUsage(used=usage.memory_used_gb, available=usage.memory_free_gb),
            tasks=[flight.run_id for flight in self.flights.of_group(group)],
        )
        outcome = await group.client.heartbeat(beat)
        if not isinstance(outcome, Ok):
            log.warning("heartbeat.failed", group=group.name, error=outcome.error)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._background.append(asyncio.create_task(work))

    def _make_servers(self) -> list[HttpServer]:
        settings, servers = self._settings, []
        if settings.workload_api.enabled:
            rules = TokenRules(
                secret=settings.tokens.secret, enforcement=settings.tokens.enforcement
            )
            api = WorkloadApi(self.groups, flights=self.flights, tokens=rules, metrics=self.metrics)
            servers.append(
                HttpServer(
                    api.app(), host=settings.workload_api.host, port=settings.workload_api.port
                )
            )
        if settings.metrics_enabled:
            app = make_metrics_app(self.metrics)
            try:
                server = HttpServer(app, host=settings.metrics_host, port=settings.metrics_port)
            except OSError as error:  # runs matter more than their figures
                log.warning("metrics.not_served", port=settings.metrics_port, error=str(error))
            else:
                servers.append(server)
        return servers

    def _make_capacity(self) -> Capacity:
        settings = self._settings
        limits = Limits(
            cpu=self._machine.cpu_total * settings.capacity.cpu_overcommit,
            memory_gb=self._machine.memory_total_gb * settings.capacity.memory_overcommit,
            workloads=settings.capacity.max_workloads,
            memory_floor_gb=settings.capacity.memory_floor_gb,
        )
        return Capacity(limits, polls=max(settings.dequeue.polls, len(self.groups)))

    def _make_dispatcher(self) -> Dispatcher:
        settings = self._settings
        runner = RunnerSettings(
            protocol=settings.workload_api.protocol,
            domain=settings.workload_api.domain,
            port=settings.workload_api.port_external or self.port,
            instance_name=settings.instance_name,
            heartbeat_interval_s=settings.runners.heartbeat_interval_s,
            snapshot_poll_interval_s=settings.runners.snapshot_poll_interval_s,
            additional=settings.runners.additional_env,
            pretty_logs=settings.runners.pretty_logs,
            send_debug_logs=settings.runners.debug_logs,
            otlp_endpoint=settings.runners.otlp_endpoint,
        )
        options = DispatchOptions(
            runner=runner,
            token_secret=settings.tokens.secret,
            token_expires_at=settings.tokens.expires_at,
        )
        return Dispatcher(
            options, capacity=self.capacity, flights=self.flights, metrics=self.metrics
        )

    def _make_pool(self) -> LeasePool:
        settings = self._settings
        return LeasePool(
            self.groups,
            polls=settings.dequeue.polls,
            capacity=self.capacity,
            dispatcher=self._dispatcher,
            metrics=self.metrics,
            memory_free_gb=memory_free_for(settings, self._machine),
            queue_class=settings.dequeue.queue_class,
            interval_s=settings.dequeue.interval_ms / 1000,
            idle_interval_s=settings.dequeue.idle_interval_ms / 1000,
        )
